"""The client of the REST API against a real HTTP server."""

from __future__ import annotations

import pytest

from dashboard.api_client import ApiClient, ApiProblem
from dashboard.settings import Settings, read_settings
from tests.dashboard.canned import ZIP
from tests.dashboard.fake_api import KEY, FakeApi


@pytest.fixture
def client(fake_api: FakeApi) -> ApiClient:
    """A client with the right key."""
    return ApiClient(Settings(fake_api.url, KEY))


def test_settings_have_a_server_and_hide_the_key() -> None:
    assert read_settings({}).server == "http://127.0.0.1:8000"
    settings = read_settings({"FEDKRSO_SERVER": "http://a.b/", "FEDKRSO_API_KEY": "hidden"})
    assert settings.server == "http://a.b"
    assert "hidden" not in repr(settings)


def test_jobs_come_in_pages(client: ApiClient, fake_api: FakeApi) -> None:
    for name in ("one", "two", "three"):
        fake_api.add_job({"name": name})
    first = client.jobs(limit=2)
    second = client.jobs(limit=2, after=first["next"])
    assert [job["name"] for job in first["items"] + second["items"]] == ["three", "two", "one"]
    assert second["next"] is None


def test_a_refused_job_carries_its_wrong_fields(client: ApiClient) -> None:
    with pytest.raises(ApiProblem) as caught:
        client.submit({"name": "demo", "rounds": 0})
    assert caught.value.status == 422
    assert [error["field"] for error in caught.value.errors] == ["rounds"]


def test_events_come_after_the_one_that_is_known(client: ApiClient, fake_api: FakeApi) -> None:
    job = fake_api.add_job({"name": "demo"})
    fake_api.close_round(job)
    fake_api.close_round(job)
    assert [event["id"] for event in client.events(job)] == [1, 2]
    assert [event["id"] for event in client.events(job, after=1)] == [2]


def test_a_model_in_another_store_is_fetched_there_without_the_key(
    client: ApiClient, fake_api: FakeApi
) -> None:
    job = fake_api.add_job({"name": "demo"})
    fake_api.models_elsewhere = True
    assert client.model(job, 0).content == ZIP


def test_a_model_is_awaited_then_fetched(client: ApiClient, fake_api: FakeApi) -> None:
    job = fake_api.add_job({"name": "demo"})
    fake_api.builds_to_wait = 1
    fake_api.close_round(job)
    assert client.model(job, 1).retry_after_s == 0.1
    assert client.model(job, 1).content == ZIP


def test_a_server_that_is_away_is_a_readable_problem() -> None:
    with pytest.raises(ApiProblem, match="cannot be reached") as caught:
        ApiClient(Settings("http://127.0.0.1:9")).jobs()
    assert caught.value.status == 0


def test_an_address_that_is_none_is_a_readable_problem() -> None:
    with pytest.raises(ApiProblem, match="cannot be reached"):
        ApiClient(Settings("http://[nowhere")).jobs()


def test_a_wrong_key_is_refused(fake_api: FakeApi) -> None:
    with pytest.raises(ApiProblem) as caught:
        ApiClient(Settings(fake_api.url, "wrong")).jobs()
    assert caught.value.status == 401


def test_an_id_cannot_climb_out_of_its_place(client: ApiClient) -> None:
    with pytest.raises(ApiProblem, match=r"no job \.\./methods"):
        client.job("../methods")


def test_the_curves_of_several_jobs_come_in_one_request(
    client: ApiClient, fake_api: FakeApi
) -> None:
    jobs = [fake_api.add_job({"name": name}) for name in ("one", "two")]
    fake_api.close_round(jobs[0])
    found = client.series([jobs[1], jobs[0]])
    assert [item["name"] for item in found] == ["two", "one"]
    assert [len(item["points"]) for item in found] == [0, 1]
    assert fake_api.series_requests == 1
