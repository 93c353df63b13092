"""Rates per key, and how large a request may be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.body_limit import HEADERS_LIMIT_BYTES, URL_LIMIT_BYTES
from api.errors import ApiError
from api.services.rates import Rates
from api.settings import Settings
from tests.api import databases, people
from tests.api.exchange import as_worker
from tests.api.people import bearer
from tests.flow.servers import Redis

NEVER = {"Authorization": "Bearer wrong"}


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """One database is enough here: nothing of this is in it."""
    return databases.copy_of_sqlite(sqlite_template, tmp_path / "test.db")


@pytest.fixture
def redis_url() -> Iterator[str]:
    server = Redis()
    server.start()
    yield server.url
    server.kill()


def problem(answer: Any, status: int, kind: str) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:fedkrso:problem:{kind}")
    return str(answer.json()["detail"])


def test_a_key_above_its_rate_is_told_how_long_to_wait(
    client: TestClient, settings: Settings, engine: Engine
) -> None:
    settings.rate_reads = "3/hour"
    key, other = people.user(engine, "one"), people.user(engine, "two")
    for _ in range(3):
        assert client.get("/v1/keys", headers=bearer(key)).status_code == 200
    answer = client.get("/v1/keys", headers=bearer(key))
    detail = problem(answer, 429, "too-many-requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    assert "3 per 1 hour" in detail
    # another key, and writes of the same one, have buckets of their own
    assert client.get("/v1/keys", headers=bearer(other)).status_code == 200
    assert client.post("/v1/keys", json={}, headers=bearer(key)).status_code == 201


def test_no_rate_stops_a_heartbeat(client: TestClient, settings: Settings) -> None:
    for name in ("rate_reads", "rate_writes", "rate_uploads", "rate_work"):
        setattr(settings, name, "1/hour")
    claims = [
        client.post("/v1/assignments/claim", json={"worker": "w"}, headers=as_worker())
        for _ in range(3)
    ]
    assert [claim.status_code for claim in claims] == [204, 429, 429]
    headers = as_worker() | {"X-Lease-Token": "t"}
    for _ in range(5):
        beat = client.post("/v1/assignments/a/heartbeat", json={"step": 1}, headers=headers)
        assert beat.status_code == 404  # no such assignment, but never 429


def test_a_flood_of_unknown_keys_is_stopped_and_known_ones_still_pass(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.services.rates.REFUSALS", "5/hour")
    tries = [client.post("/v1/jobs", headers=NEVER).status_code for _ in range(7)]
    assert tries == [401] * 5 + [429] * 2
    assert client.get("/v1/me").status_code == 200
    refused = client.get("/v1/audit").json()["items"]
    assert [line["status"] for line in refused] == [401] * 5  # the log cannot be flooded


@pytest.mark.services
def test_the_rates_of_several_processes_are_one_in_redis(redis_url: str) -> None:
    one, other = (Rates(redis_url, reads="4/hour") for _ in range(2))
    for rates in (one, other, one, other):
        rates.count("reads", "key")
    with pytest.raises(ApiError) as refused:
        one.count("reads", "key")
    assert refused.value.status == 429


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_rates_are_counted_in_memory_while_redis_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    rates = Rates(f"redis://127.0.0.1:{port}/0", reads="2/hour")
    rates.count("reads", "key")
    rates.count("reads", "key")
    with pytest.raises(ApiError, match="2 per 1 hour"):
        rates.count("reads", "key")


def chunks(count: int) -> Iterator[bytes]:
    yield b'{"name": "'
    for _ in range(count):
        yield b"x" * 1000
    yield b'"}'


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/users", "/v1/keys", "/v1/jobs:estimate"])
def test_a_body_above_the_limit_is_refused_by_its_length_or_as_it_comes(
    client: TestClient, settings: Settings, path: str
) -> None:
    settings.body_limit_bytes = 5000
    headers = {"Content-Type": "application/json"}
    for content in (b"".join(chunks(6)), chunks(6)):
        answer = client.post(path, content=content, headers=headers)
        assert "larger than 5000 bytes" in problem(answer, 413, "too-large")


def test_the_key_comes_before_the_length(client: TestClient, settings: Settings) -> None:
    settings.body_limit_bytes = 10
    for content in (b"".join(chunks(6)), chunks(6)):
        answer = client.post("/v1/jobs", content=content, headers=NEVER)
        problem(answer, 401, "unauthorized")


def test_a_body_is_not_read_on_before_the_refusal(client: TestClient, settings: Settings) -> None:
    settings.body_limit_bytes = 2000
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b"x" * 1000

    answer = client.post("/v1/jobs", content=endless(), headers={"Content-Type": "text/plain"})
    problem(answer, 413, "too-large")


def test_an_address_or_headers_that_are_too_long_are_refused(client: TestClient) -> None:
    for path in ("/v1/jobs", "/nowhere", "/healthz"):
        answer = client.get(path, params={"state": "x" * URL_LIMIT_BYTES})
        assert str(URL_LIMIT_BYTES) in problem(answer, 414, "too-large")
        answer = client.get(path, headers={"X-Long": "x" * HEADERS_LIMIT_BYTES})
        assert str(HEADERS_LIMIT_BYTES) in problem(answer, 431, "too-large")


@pytest.mark.parametrize("rate", ["", "many", "5", "5/fortnight"])
def test_a_rate_that_is_none_is_refused(rate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_RATE_READS", rate)
    with pytest.raises(ValueError, match="rate_reads"):
        Settings()
