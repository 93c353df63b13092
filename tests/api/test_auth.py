from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from api.db.session import reading, writing
from api.db.tables import Key
from api.main import app
from api.services import keys
from tests.api.exchange import USER_KEY, WORKER_KEY, as_user, as_worker

OPEN = {"/healthz", "/readyz"}
METHODS = {"get", "post", "put", "delete", "patch"}


def operations() -> Iterator[tuple[str, str]]:
    for path, item in app.openapi()["paths"].items():
        for method in METHODS & set(item):
            yield method, path.replace("{number}", "1")


GUARDED = sorted(op for op in operations() if op[1] not in OPEN)
FOR_WORKERS = [op for op in GUARDED if op[1].startswith("/v1/assignments")]
FOR_USERS = [op for op in GUARDED if op not in FOR_WORKERS]


def ask(http: TestClient, method: str, path: str, authorization: str) -> Any:
    answer = http.request(method, path, headers={"Authorization": authorization})
    assert answer.headers["content-type"] == "application/problem+json"
    return answer


@pytest.mark.parametrize("authorization", ["", "Bearer wrong-key-123", f"Basic {USER_KEY}"])
def test_every_route_asks_for_a_valid_key(client: TestClient, authorization: str) -> None:
    for method, path in GUARDED:
        answer = ask(client, method, path, authorization)
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["type"] == "urn:fedkrso:problem:unauthorized"


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_needs_no_key(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_a_workers_key_opens_nothing_of_the_users(client: TestClient) -> None:
    for method, path in FOR_USERS:
        answer = ask(client, method, path, as_worker()["Authorization"])
        assert (method, path, answer.status_code) == (method, path, 403)


def test_a_users_key_opens_nothing_of_the_workers(client: TestClient) -> None:
    for method, path in FOR_WORKERS:
        answer = ask(client, method, path, as_user()["Authorization"])
        assert (method, path, answer.status_code) == (method, path, 403)


def test_a_revoked_key_is_refused(client: TestClient, engine: Engine) -> None:
    keys.store(engine, "fk_lost", "admin")
    as_lost = {"Authorization": "Bearer fk_lost"}
    assert client.get("/v1/jobs", headers=as_lost).status_code == 200
    with writing(engine) as session:
        session.execute(update(Key).where(Key.hash == keys.hash_of("fk_lost")).values(revoked_at=1))
    assert client.get("/v1/jobs", headers=as_lost).status_code == 401


def test_a_key_is_stored_once_and_as_its_hash(client: TestClient, engine: Engine) -> None:
    keys.store(engine, USER_KEY, "admin")
    with reading(engine) as session:
        stored = {key.hash: key.role for key in session.scalars(select(Key))}
    assert stored == {keys.hash_of(USER_KEY): "user", keys.hash_of(WORKER_KEY): "worker"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_key_and_no_lease_token_can_be_read_in_the_state_folder(
    client: TestClient, house: Any, tmp_path: Path
) -> None:
    house.open_job()
    token = house.claim().lease_token
    with sqlite3.connect(tmp_path / "test.db") as database:
        database.execute("PRAGMA wal_checkpoint(FULL)")
    database.close()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(keys.hash_of(token).encode() in data for data in written)
    for secret in (USER_KEY, WORKER_KEY, token):
        assert not [data for data in written if secret.encode() in data]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?limit=0", "/v1/jobs/x", "/nowhere"])
@pytest.mark.parametrize("key", ["a-key-nobody-knows", USER_KEY, WORKER_KEY])
def test_no_answer_repeats_the_key(client: TestClient, path: str, key: str) -> None:
    for method in ("get", "post", "put"):
        answer = client.request(method, path, headers={"Authorization": f"Bearer {key}"})
        assert key not in answer.text
        assert key not in str(answer.headers)
