"""The same job once more, with some fields changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from tests.api.exchange import submit

Make = Callable[..., dict[str, Any]]


def test_a_clone_is_the_same_job_anew(client: TestClient, tiny_job: Make) -> None:
    job_id = submit(client, tiny_job(priority=3))
    answer = client.post(f"/v1/jobs/{job_id}/clone")
    assert answer.status_code == 201, answer.text
    clone = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{clone['id']}"
    assert clone["id"] != job_id
    assert clone["spec"] == client.get(f"/v1/jobs/{job_id}").json()["spec"]
    events = client.get(f"/v1/jobs/{clone['id']}/events?format=json").json()["items"]
    assert events[0]["text"] == f"Job 'tiny' submitted, a clone of {job_id}"


def test_a_clone_may_differ_in_some_fields(client: TestClient, tiny_job: Make) -> None:
    job_id = submit(client, tiny_job())
    changes = {"name": "other", "seed": 9, "local": {"lr": 0.5}, "method": {"name": "fedavg"}}
    clone = client.post(f"/v1/jobs/{job_id}/clone", json=changes).json()
    assert (clone["name"], clone["spec"]["seed"], clone["method"]) == ("other", 9, "fedavg")
    assert (clone["spec"]["local"]["lr"], clone["spec"]["local"]["steps"]) == (0.5, 4)
    assert clone["spec"]["method"] == {"name": "fedavg"}


def test_a_clone_that_cannot_run_is_refused_like_a_job(client: TestClient, tiny_job: Make) -> None:
    job_id = submit(client, tiny_job())
    answer = client.post(f"/v1/jobs/{job_id}/clone", json={"rounds": 0, "sede": 1})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:fedkrso:problem:invalid-job"
    assert {error["field"] for error in answer.json()["errors"]} == {"rounds", "sede"}
    assert len(client.get("/v1/jobs").json()["items"]) == 1
