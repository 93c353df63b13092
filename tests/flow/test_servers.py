"""The same job over PostgreSQL and Redis instead of SQLite and files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

pytestmark = [pytest.mark.slow, pytest.mark.services]

POSTGRES = os.environ.get("TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
REDIS = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379/9")


def _missing(service: str, error: Exception) -> None:
    message = f"{service} does not answer: {error}"
    if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of its own."""
    name = f"fedkrso_{secrets.token_hex(6)}"
    try:
        with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True, connect_timeout=3) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
    except psycopg.OperationalError as error:
        _missing("PostgreSQL", error)
    yield f"{POSTGRES.replace('postgresql://', 'postgresql+psycopg://')}/{name}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty Redis database."""
    server = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        server.flushdb()
    except redis.ConnectionError as error:
        _missing("Redis", error)
    yield REDIS
    server.flushdb()
    server.close()


def test_postgresql_and_redis_give_the_same_model(
    up: Any,
    job: dict[str, Any],
    undisturbed: Callable[..., Any],
    postgres_url: str,
    redis_url: str,
) -> None:
    summary, rounds, _ = undisturbed(job)
    servers = {"FEDKRSO_DATABASE_URL": postgres_url, "FEDKRSO_BROKER_URL": redis_url}
    with up("--no-dashboard", **servers) as service, service.client() as http:
        job_id = http.post("/v1/jobs", json=job).json()["id"]
        done = service.wait(job_id)
        served = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
        assert not (service.home / "fedkrso.db").exists()
    assert done["state"] == "done", done
    assert done["model_sha256"] == summary["model_sha256"]
    assert [r["bytes_down"] for r in served] == [r["bytes_down"] for r in rounds]
