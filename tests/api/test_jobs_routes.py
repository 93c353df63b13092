from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fedkrso_core.methods import METHODS
from tests.api.exchange import submit
from tests.api.house import House

Json = dict[str, Any]
MakeJob = Callable[..., Json]


def errors_of(answer: Any, status: int) -> list[Json]:
    """The errors of a problem document, which the answer must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:fedkrso:problem:")
    return body["errors"]


def test_a_job_is_created_with_its_address(client: TestClient, tiny_job: MakeJob) -> None:
    answer = client.post("/v1/jobs", json=tiny_job())
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["rounds"], job["rounds_closed"]) == ("queued", 2, 0)
    assert job["waiting_for"] == "a coordinator to start the job"
    assert client.get(answer.headers["location"]).json() == job


def test_a_job_shows_its_defaults_filled_in(client: TestClient, tiny_job: MakeJob) -> None:
    job_id = submit(client, tiny_job(method={"name": "fedkrso", "rank": 2}))
    spec = client.get(f"/v1/jobs/{job_id}").json()["spec"]
    assert spec["method"]["interval"] == 5
    assert (spec["evaluate"]["every"], spec["evaluate"]["batch_size"]) == (1, 64)


BAD = {
    "unknown field": ({"lerning_rate": 1}, "lerning_rate", 1, "allowed: name, model"),
    "nested unknown field": ({"local": {"step": 3}}, "local.step", 3, "allowed: steps"),
    "no clients": ({"clients": {"count": 0}}, "clients.count", 0, "greater than or equal to 1"),
    "more clients in a round than there are": (
        {"clients": {"count": 3, "per_round": 4}},
        "clients.per_round",
        4,
        "allowed: 1 to 3",
    ),
    "unknown partition": (
        {"partition": {"kind": "random"}},
        "partition.kind",
        "random",
        "iid, dirichlet, shards, by-column",
    ),
    "rank above a layer": (
        {"method": {"name": "fedkrso", "rank": 99}},
        "method.rank",
        99,
        "allowed: 1 to 16",
    ),
    "unknown option of the method": (
        {"method": {"name": "fedkrso", "rang": 2}},
        "method.rang",
        2,
        "allowed: rank",
    ),
    "unknown method": (
        {"method": {"name": "magic"}},
        "method.name",
        "magic",
        "allowed: bottleneck, fed_sb, fedavg",
    ),
    "too many tokens": (
        {"local": {"max_length": 99}},
        "local.max_length",
        99,
        "the model takes 4 to 16",
    ),
    "no such data set": (
        {"data": {"train": "/nowhere/rows.csv"}},
        "data.train",
        "/nowhere/rows.csv",
        "there is no file",
    ),
    "no such model": ({"model": "/nowhere"}, "model", "/nowhere", "not a folder; allowed: minilm"),
}


@pytest.mark.parametrize(("changed", "field", "value", "message"), BAD.values(), ids=BAD)
def test_a_job_that_cannot_run_is_refused_by_field_and_value(
    client: TestClient, tiny_job: MakeJob, changed: Json, field: str, value: Any, message: str
) -> None:
    (error,) = errors_of(client.post("/v1/jobs", json=tiny_job(**changed)), 422)
    assert (error["field"], error["value"]) == (field, value)
    assert message in error["message"]
    assert client.get("/v1/jobs").json() == {"items": [], "next": None}


def test_a_missing_column_is_named_with_those_that_exist(
    client: TestClient, tiny_job: MakeJob
) -> None:
    job = tiny_job()
    job["data"] |= {"text": "words", "label": "mood"}
    errors = errors_of(client.post("/v1/jobs", json=job), 422)
    assert [(e["field"], e["value"]) for e in errors] == [
        ("data.text", "words"),
        ("data.label", "mood"),
    ]
    assert errors[0]["message"].endswith("it has: text, label, group")


def test_every_wrong_field_is_listed_at_once(client: TestClient) -> None:
    errors = errors_of(client.post("/v1/jobs", json={"rounds": 0, "seed": -1}), 422)
    assert [error["field"] for error in errors] == ["name", "rounds", "seed"]
    assert errors[0]["message"] == "is required"


def test_a_body_that_is_not_json_is_refused(client: TestClient) -> None:
    as_json = {"Content-Type": "application/json"}
    (error,) = errors_of(client.post("/v1/jobs", content='{"name": ', headers=as_json), 422)
    assert error["field"] == "body"
    assert error["message"].startswith("is not JSON: Expecting value")


@pytest.mark.parametrize(
    "body", ['{"name": "x", "seed": NaN}', '{"name": "x", "seed": 1e999}', '{"name": "\\ud800"}']
)
def test_values_that_json_cannot_say_are_refused_too(client: TestClient, body: str) -> None:
    as_json = {"Content-Type": "application/json"}
    assert len(errors_of(client.post("/v1/jobs", content=body, headers=as_json), 422)) == 1


def test_jobs_are_listed_newest_first_in_pages(client: TestClient, house: House) -> None:
    ids = [house.job() for _ in range(5)]
    seen, after = [], None
    for _ in range(3):
        page = client.get("/v1/jobs", params={"limit": 2, **({"after": after} if after else {})})
        seen += [job["id"] for job in page.json()["items"]]
        after = page.json()["next"]
    assert seen == ids[::-1]
    assert after is None


def test_jobs_are_listed_by_state(client: TestClient, house: House) -> None:
    house.job()
    running = house.open_job()
    items = client.get("/v1/jobs", params={"state": "running"}).json()["items"]
    assert [job["id"] for job in items] == [running]
    errors_of(client.get("/v1/jobs", params={"state": "asleep"}), 422)


@pytest.mark.parametrize("limit", [0, 501, "many"])
def test_a_page_has_1_to_500_jobs(client: TestClient, limit: Any) -> None:
    (error,) = errors_of(client.get("/v1/jobs", params={"limit": limit}), 422)
    assert error["field"] == "query.limit"


def test_a_page_after_an_unknown_job_is_not_found(client: TestClient) -> None:
    errors_of(client.get("/v1/jobs", params={"after": "nope"}), 404)


@pytest.mark.parametrize("path", ["", "/rounds", "/rounds/1/clients", "/events", "/model"])
def test_an_unknown_job_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/jobs/nope{path}")
    errors_of(answer, 404)
    assert answer.json()["detail"] == "there is no job 'nope'"


def test_a_job_is_cancelled_once(client: TestClient, house: House) -> None:
    job_id = house.open_job()
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    again = client.post(f"/v1/jobs/{job_id}/cancel")
    errors_of(again, 409)
    assert again.json()["detail"] == f"job {job_id} is cancelled: it cannot be cancelled"
    errors_of(client.post("/v1/jobs/nope/cancel"), 404)


def test_the_newest_rounds_come_alone_and_as_among_all(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=2, rounds=3)
    for _ in range(2):
        house.finish_round(job_id)
    every = client.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    assert [item["round"] for item in every] == [1, 2, 3]
    assert client.get(f"/v1/jobs/{job_id}/rounds?last=2").json()["items"] == every[1:]


def test_rounds_show_what_was_sent_and_measured(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=2, rounds=2)
    house.fetch(seat := house.claim())
    sent = house.hand_in(seat).bytes_up
    house.finish_round(job_id)
    first, second = client.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    assert (first["round"], first["state"], first["done"]) == (1, "closed", 2)
    assert first["metrics"] == {"accuracy": 0.5, "loss": 1.0}
    assert (first["bytes_up"], first["bytes_down"]) == (2 * sent, house.round(job_id, 0).size)
    assert first["seconds"]["train"] == 1.0
    assert (second["round"], second["state"], second["clients"]) == (2, "collecting", [0, 1])


def test_the_clients_of_a_round_show_what_they_do(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=2)
    house.heartbeat(house.claim("gpu-1"), step=7)
    path = f"/v1/jobs/{job_id}/rounds/1/clients"
    first, second = client.get(path).json()["items"]
    assert (first["state"], first["worker"], first["step"], first["steps"]) == (
        "leased",
        "gpu-1",
        7,
        10,
    )
    assert (second["state"], second["worker"], second["attempt"]) == ("pending", None, 0)
    waiting = client.get(f"/v1/jobs/{job_id}").json()["waiting_for"]
    assert waiting.startswith(
        "round 1: 0 of 2 updates (at its deadline 1 will do); client 0 trains"
    )
    assert waiting.endswith("client 1 waits for a worker")


@pytest.mark.parametrize("number", [0, 2])
def test_a_round_that_is_not_open_yet_is_not_found(
    client: TestClient, house: House, number: int
) -> None:
    job_id = house.open_job()
    errors_of(client.get(f"/v1/jobs/{job_id}/rounds/{number}/clients"), 404)


@pytest.mark.parametrize(
    "path", ["rounds/{}/clients", "events?format=json&after={}", "model?round={}"]
)
def test_a_number_that_no_column_holds_is_refused(
    client: TestClient, house: House, path: str
) -> None:
    job_id = house.job()
    errors_of(client.get(f"/v1/jobs/{job_id}/{path.format(10**30)}"), 422)


def test_a_model_before_the_first_round_is_a_conflict(client: TestClient, house: House) -> None:
    errors_of(client.get(f"/v1/jobs/{house.job()}/model"), 409)
    job_id = house.open_job()
    answer = client.get(f"/v1/jobs/{job_id}/model", params={"round": 1})
    errors_of(answer, 409)
    assert answer.json()["detail"].endswith("is not closed; closed: 0 to 0")


def test_times_are_utc(client: TestClient, house: House) -> None:
    job = client.get(f"/v1/jobs/{house.job()}").json()
    created = datetime.fromisoformat(job["created_at"])
    assert created.utcoffset() is not None
    assert created.utcoffset().total_seconds() == 0


def test_every_method_comes_with_the_schema_of_its_options(client: TestClient) -> None:
    items = client.get("/v1/methods").json()["items"]
    assert [item["name"] for item in items] == list(METHODS)
    for item in items:
        assert item["title"]
        assert item["paper"]
        assert item["config"]["type"] == "object"
        assert all("description" in field for field in item["config"]["properties"].values())


def test_models_and_data_sets_without_a_download_are_listed(client: TestClient) -> None:
    models = client.get("/v1/models").json()["items"]
    assert models[0]["name"] == "minilm"
    assert models[0]["parameters"] == 22_713_216
    (dataset,) = client.get("/v1/datasets").json()["items"]
    assert (dataset["name"], dataset["text"], dataset["label"]) == ("pydocs", "text", "label")


def test_the_schema_of_the_job_file_describes_every_field(client: TestClient) -> None:
    schema = client.get("/v1/schemas/job").json()
    assert schema["required"] == ["name"]
    assert {"model", "data", "clients", "rounds", "local", "method"} <= set(schema["properties"])
