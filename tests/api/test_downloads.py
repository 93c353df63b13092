"""Downloads: a file with its ETag, or a link into S3 that needs no key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.coordinator import export
from api.coordinator.advance import advance
from api.deps import blob_store
from api.settings import settings as read_settings
from tests.api.exchange import Json, claim, fetch, lease, open_first_round, put, submit, train


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients cannot reach the store."""
    monkeypatch.setenv("FEDKRSO_BLOB_REDIRECTS", "false")


def state_url(assignment: Json) -> str:
    return f"/v1/assignments/{assignment['id']}/blobs/{assignment['states'][0]['digest']}"


@pytest.fixture
def assignment(client: TestClient, tiny_job: Callable[..., Json]) -> Json:
    open_first_round(client, tiny_job())
    return claim(client)


def down(client: TestClient, job: str) -> int:
    return int(client.get(f"/v1/jobs/{job}").json()["bytes_down"])


def test_a_state_comes_with_its_digest_as_etag(client: TestClient, assignment: Json) -> None:
    (state,) = assignment["states"]
    answer = fetch(client, assignment, state["digest"])
    assert answer.headers["ETag"] == f'"{state["digest"]}"'
    assert int(answer.headers["Content-Length"]) == state["size"] == len(answer.content)
    assert down(client, assignment["job"]) == state["size"]


@pytest.mark.parametrize("tags", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_a_state_that_the_client_has_is_not_sent_or_counted_again(
    client: TestClient, assignment: Json, tags: str
) -> None:
    digest = assignment["states"][0]["digest"]
    given = lease(assignment) | {"If-None-Match": tags.format(digest)}
    answer = client.get(state_url(assignment), headers=given)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == f'"{digest}"'
    assert down(client, assignment["job"]) == 0


def test_another_etag_changes_nothing(client: TestClient, assignment: Json) -> None:
    given = lease(assignment) | {"If-None-Match": '"other"'}
    assert client.get(state_url(assignment), headers=given).status_code == 200


def test_a_part_of_a_state_is_sent_when_asked_for(client: TestClient, assignment: Json) -> None:
    whole = fetch(client, assignment, assignment["states"][0]["digest"]).content
    given = lease(assignment) | {"Range": "bytes=8-19"}
    answer = client.get(state_url(assignment), headers=given)
    assert (answer.status_code, answer.content) == (206, whole[8:20])


def test_a_lost_lease_gets_no_304(client: TestClient, assignment: Json) -> None:
    digest = assignment["states"][0]["digest"]
    given = lease(assignment) | {"X-Lease-Token": "other", "If-None-Match": f'"{digest}"'}
    assert client.get(state_url(assignment), headers=given).status_code == 409


def test_a_state_in_s3_is_behind_a_link_that_needs_no_key(
    blobs_in_s3: None, client: TestClient, assignment: Json
) -> None:
    (state,) = assignment["states"]
    answer = client.get(state_url(assignment), headers=lease(assignment), follow_redirects=False)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    found = httpx.get(answer.headers["Location"], trust_env=False)
    assert found.status_code == 200
    assert len(found.content) == state["size"]
    assert down(client, assignment["job"]) == state["size"]


def test_the_link_lives_as_long_as_the_setting_says(
    blobs_in_s3: None, client: TestClient, assignment: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.get(state_url(assignment), headers=lease(assignment), follow_redirects=False)
    assert "X-Amz-Expires=300&" in answer.headers["Location"]


def test_without_redirects_the_service_sends_what_is_in_s3(
    streamed: None, blobs_in_s3: None, client: TestClient, assignment: Json
) -> None:
    (state,) = assignment["states"]
    answer = fetch(client, assignment, state["digest"])
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{state["digest"]}"'
    assert int(answer.headers["Content-Length"]) == state["size"] == len(answer.content)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_whole_job_with_its_blobs_in_s3(
    blobs_in_s3: None,
    client: TestClient,
    tiny_job: Callable[..., Json],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(client, tiny_job(rounds=1))
    advance(job_id)
    monkeypatch.setenv("FEDKRSO_BLOB_REDIRECTS", "false")  # the test's client keeps to one host
    read_settings.cache_clear()
    for _ in range(2):
        trainee = train(client, tmp_path)
        assert put(client, trainee.assignment, trainee.body).status_code == 200
    advance(job_id)
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "done"
    export.build(job_id, 1)
    monkeypatch.setenv("FEDKRSO_BLOB_REDIRECTS", "true")
    read_settings.cache_clear()
    answer = client.get(f"/v1/jobs/{job_id}/model", follow_redirects=False)
    assert answer.status_code == 307
    zipped = httpx.get(answer.headers["Location"], trust_env=False).content
    assert zipped.startswith(b"PK")
    assert len(list(blob_store().listed())) == 5  # two states, two updates, one export
    assert list(blob_store().parts.folder.iterdir()) == []
