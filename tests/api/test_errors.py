from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.errors import ApiError, install, not_found
from fedkrso_core.errors import DataError, PayloadError, Problem, SpecError

RAISED: dict[str, tuple[Exception, int, str]] = {
    "api": (ApiError(409, "conflict", "it is done"), 409, "conflict"),
    "missing": (not_found("job", "x"), 404, "not-found"),
    "payload": (PayloadError("tensor 'w' is odd"), 422, "invalid-update"),
    "spec": (SpecError([Problem("rounds", "0: too few", 0)]), 422, "invalid-job"),
    "core": (DataError("no rows"), 422, "invalid-request"),
    "unexpected": (RuntimeError("the shelf of blob 7 fell"), 500, "internal"),
}


@pytest.fixture
def http() -> Iterator[TestClient]:
    app = FastAPI()
    install(app)

    @app.get("/raise/{name}")
    def raise_it(name: str) -> None:
        raise RAISED[name][0]

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(("name", "status", "kind"), [(n, s, k) for n, (_, s, k) in RAISED.items()])
def test_every_error_is_a_problem_document(
    http: TestClient, name: str, status: int, kind: str
) -> None:
    answer = http.get(f"/raise/{name}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    assert (body["type"], body["status"]) == (f"urn:fedkrso:problem:{kind}", status)
    assert body["title"]


def test_an_unexpected_error_says_nothing_outside_and_everything_in_the_log(
    http: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "api"):
        answer = http.get("/raise/unexpected")
    assert "shelf of blob 7" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "shelf of blob 7" in caplog.text


def test_wrong_fields_are_listed_with_their_values(http: TestClient) -> None:
    body = http.get("/raise/spec").json()
    assert body["detail"] == "rounds: 0: too few"
    assert body["errors"] == [{"field": "rounds", "message": "0: too few", "value": 0}]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/docs", 405)])
def test_the_frameworks_own_refusals_are_problem_documents(
    http: TestClient, method: str, path: str, status: int
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert f"{method} {path}" in answer.json()["detail"]


def test_a_text_that_the_database_cannot_hold_is_a_refusal(client: TestClient) -> None:
    assert client.get("/v1/jobs/%00").status_code in (404, 422)


def test_a_method_that_a_path_lacks_is_refused_with_all_that_it_has(client: TestClient) -> None:
    answer = client.delete("/v1/jobs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\x80", b"{"])
def test_a_body_that_is_not_json_is_a_wrong_request(client: TestClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/jobs", content=body, headers=headers)
    assert answer.status_code == 422
    assert "is not JSON" in answer.json()["detail"]
