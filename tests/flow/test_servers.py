"""The same job over PostgreSQL and Redis, or RabbitMQ, instead of SQLite and files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

from tests.flow.proof import Undisturbed
from tests.flow.servers import missing, rabbitmqctl, virtual_host

pytestmark = [pytest.mark.slow, pytest.mark.services]

POSTGRES = os.environ.get("TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
REDIS = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379/9")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of its own."""
    name = f"fedkrso_{secrets.token_hex(6)}"
    try:
        with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True, connect_timeout=3) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
    except psycopg.OperationalError as error:
        missing(f"PostgreSQL does not answer: {error}")
    yield f"{POSTGRES.replace('postgresql://', 'postgresql+psycopg://')}/{name}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def redis_prefix() -> Iterator[str]:
    """What all keys of the test in Redis begin with; they are removed afterwards."""
    prefix = f"test-{secrets.token_hex(6)}"
    with redis.Redis.from_url(REDIS, socket_connect_timeout=3) as server:
        try:
            server.ping()
        except redis.ConnectionError as error:
            missing(f"Redis does not answer: {error}")
        yield prefix
        for key in server.scan_iter(f"{prefix}:*"):
            server.delete(key)


def test_postgresql_and_redis_give_the_same_model(
    up: Any,
    job: dict[str, Any],
    undisturbed: Callable[..., Any],
    postgres_url: str,
    redis_prefix: str,
) -> None:
    alone = undisturbed(job)
    servers = {
        "FEDKRSO_DATABASE_URL": postgres_url,
        "FEDKRSO_BROKER_URL": REDIS,
        "FEDKRSO_QUEUE_PREFIX": redis_prefix,
    }
    with up("--no-dashboard", **servers) as service, service.client() as http:
        job_id = http.post("/v1/jobs", json=job).json()["id"]
        done = service.wait(job_id)
        served = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
        assert not (service.home / "fedkrso.db").exists()
    assert done["state"] == "done", done
    assert done["model_sha256"] == alone.summary["model_sha256"]
    assert [r["bytes_down"] for r in served] == [r["bytes_down"] for r in alone.rounds]


def test_rabbitmq_gives_the_same_model_though_it_breaks_every_connection(
    up: Any, undisturbed_job: Undisturbed
) -> None:
    with virtual_host() as (host, url):
        quick = {"FEDKRSO_BROKER_URL": url, "FEDKRSO_LEASE_S": "3", "FEDKRSO_REHINT_S": "1"}
        with up("--no-dashboard", **quick) as service, service.client() as http:
            job_id = http.post("/v1/jobs", json=undisturbed_job.spec).json()["id"]
            broken = rabbitmqctl("close_all_connections", "-p", host, "a test")
            assert int(broken.split()[1]) > 0  # Closed 5 connections
            done = service.wait(job_id)
            queues = rabbitmqctl("list_queues", "-p", host, "name").split()
    assert done["state"] == "done", done
    assert done["model_sha256"] == undisturbed_job.summary["model_sha256"]
    assert {"fedkrso.clients", "fedkrso.coordinator"} <= set(queues)
