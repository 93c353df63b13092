from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.routes import jobs as jobs_routes
from telemetry import logs
from telemetry.settings import Settings as LogSettings
from tests.api.exchange import USER_KEY, as_user, as_worker
from tests.api.house import House

Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def lines(client: TestClient) -> Iterator[Lines]:
    """The log lines so far, as JSON; those of one logger if it is named."""
    sink, root = io.StringIO(), logging.getLogger()
    before = (list(root.handlers), root.level)
    logs.configure("api", LogSettings(log_format="json", log_level="debug"), stream=sink)

    def read(name: str = "api.requests") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in sink.getvalue().splitlines()]
        return [line for line in found if line["logger"] == name]

    yield read
    root.handlers, root.level = before[0], before[1]


def test_a_request_is_answered_with_an_id_that_its_line_has(
    client: TestClient, lines: Lines
) -> None:
    answer = client.get("/v1/methods")
    (line,) = lines()
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/methods", 200)
    assert line["seconds"] > 0


def test_an_id_that_the_caller_gave_is_kept(client: TestClient, lines: Lines) -> None:
    given = {"X-Request-ID": "build-42/step:3"}
    assert client.get("/healthz", headers=given).headers["X-Request-ID"] == "build-42/step:3"
    assert lines()[0]["request_id"] == "build-42/step:3"


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "{}", "-rf", "a\tb", "é".encode().decode()])
def test_an_id_that_is_not_sane_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/healthz", headers={b"X-Request-ID": given.encode()})
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 16


def test_a_line_about_an_assignment_names_job_round_client_and_worker(
    house: House, client: TestClient, lines: Lines
) -> None:
    job_id = house.open_job()
    answer = client.post("/v1/assignments/claim", json={"worker": "gpu-1:42"}, headers=as_worker())
    seat = answer.json()
    about = {"job": job_id, "round": 1, "client": seat["client"]}
    (line,) = lines()
    assert {name: line[name] for name in about} == about
    assert line["worker"] == "gpu-1:42"
    (event,) = [line for line in lines("api.events") if line["kind"] == "leased"]
    assert event["request_id"] == answer.headers["X-Request-ID"]
    beat = f"/v1/assignments/{seat['id']}/heartbeat"
    headers = as_worker() | {"X-Lease-Token": seat["lease_token"]}
    assert client.post(beat, json={"step": 1}, headers=headers).status_code == 200
    assert {name: lines()[-1][name] for name in about} == about


def test_a_line_about_a_job_names_it(house: House, client: TestClient, lines: Lines) -> None:
    job_id = house.open_job()
    client.get(f"/v1/jobs/{job_id}/rounds")
    assert lines()[-1]["job"] == job_id


def test_a_refusal_says_which_problem_it_was(client: TestClient, lines: Lines) -> None:
    assert client.post("/v1/jobs", json={"name": ""}).status_code == 422
    (line,) = lines()
    assert (line["problem"], line["level"], line["status"]) == ("invalid-job", "info", 422)
    assert "name" in line["detail"]


def test_an_unexpected_error_bears_the_id_of_its_request(
    client: TestClient, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError(f"who knows {USER_KEY}")

    monkeypatch.setattr(jobs_routes.jobs, "page", break_down)
    answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:fedkrso:problem:internal")
    (error,) = lines("api")
    (line,) = lines()
    assert error["request_id"] == line["request_id"] == answer.headers["X-Request-ID"]
    assert "RuntimeError: who knows ***" in error["exception"]
    assert (line["status"], line["problem"]) == (500, "internal")


def test_keys_and_tokens_never_get_into_the_lines(
    house: House, client: TestClient, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    house.open_job()
    seat = house.claim()
    headers = as_user() | {"X-Lease-Token": seat.lease_token}
    client.post(f"/v1/assignments/{seat.id}/heartbeat", json={"step": 1}, headers=headers)
    client.get(f"/v1/jobs?state=running&api_key={USER_KEY}", headers=headers)
    written = json.dumps([lines(name) for name in ("api.requests", "api.events", "api")])
    assert len(lines()) == 2
    assert USER_KEY not in written
    assert seat.lease_token not in written


def test_what_succeeds_all_the_time_is_for_debugging_only(
    house: House, client: TestClient, lines: Lines
) -> None:
    house.open_job(clients=1)
    seat = house.claim()
    headers = as_worker() | {"X-Lease-Token": seat.lease_token}
    client.post(f"/v1/assignments/{seat.id}/heartbeat", json={"step": 1}, headers=headers)
    client.post("/v1/assignments/claim", json={"worker": "w"}, headers=as_worker())
    client.get("/readyz")
    client.get("/v1/jobs")
    assert [line["level"] for line in lines()] == ["debug"] * 4
    reason = {"reason": "out of memory"}
    client.post(f"/v1/assignments/{seat.id}/fail", json=reason, headers=headers | as_user())
    assert (lines()[-1]["level"], lines()[-1]["status"]) == ("info", 403)
