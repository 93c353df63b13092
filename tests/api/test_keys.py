"""A key's life: made, shown once, used, rotated, run out, revoked."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import OperationalError

from api.db.session import reading, writing
from api.db.tables import Key
from api.services import callers, keys
from api.settings import Settings
from tests.api import people
from tests.api.exchange import USER_KEY
from tests.api.people import bearer

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _nothing_was_noted() -> None:
    callers._noted.clear()


def row(engine: Engine, key_id: str) -> Key:
    with reading(engine) as session:
        return session.get_one(Key, key_id)


def made(http: TestClient, **body: Any) -> Json:
    answer = http.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_new_key_is_shown_once_and_works(client: TestClient, engine: Engine) -> None:
    new = made(client, label="laptop")
    assert re.fullmatch(rf"fk_{new['id']}_[\w-]{{43}}", new["key"])
    assert new["prefix"] == f"fk_{new['id']}"
    assert client.get("/v1/me", headers=bearer(new["key"])).json()["key"]["label"] == "laptop"
    listed = client.get("/v1/keys")
    assert new["id"] in [key["id"] for key in listed.json()["items"]]
    assert new["key"].split("_")[2] not in listed.text
    assert row(engine, new["id"]).hash == keys.hash_of(new["key"])


def test_two_keys_share_nothing_but_their_form(client: TestClient) -> None:
    one, other = made(client), made(client)
    assert one["id"] != other["id"]
    assert one["key"].split("_")[2] != other["key"].split("_")[2]


def test_the_id_alone_or_with_another_secret_opens_nothing(client: TestClient) -> None:
    one, other = made(client), made(client)
    mixed = f"fk_{one['id']}_{other['key'].split('_', 2)[2]}"
    for wrong in (mixed, one["prefix"], f"{one['prefix']}_", one["key"][:-1], one["key"] + "x"):
        assert client.get("/v1/me", headers=bearer(wrong)).status_code == 401


def test_a_revoked_key_is_refused_from_then_on(client: TestClient) -> None:
    new = made(client)
    revoked = client.delete(f"/v1/keys/{new['id']}").json()
    assert revoked["state"] == "revoked"
    assert client.get("/v1/me", headers=bearer(new["key"])).status_code == 401
    again = client.delete(f"/v1/keys/{new['id']}").json()
    assert again["revoked_at"] == revoked["revoked_at"]


def test_a_key_ends_at_its_time(client: TestClient, engine: Engine) -> None:
    new = made(client, expires_in_s=3600)
    assert client.get("/v1/me", headers=bearer(new["key"])).status_code == 200
    with writing(engine) as session:
        late = update(Key).where(Key.id == new["id"]).values(expires_at=time.time() - 1)
        session.execute(late)
    answer = client.get("/v1/me", headers=bearer(new["key"]))
    assert (answer.status_code, "has expired" in answer.json()["detail"]) == (401, True)


def test_a_rotated_key_gives_way_to_a_new_one(client: TestClient) -> None:
    old = made(client, label="ci")
    new = client.post(f"/v1/keys/{old['id']}/rotate").json()
    assert (new["label"], new["user"]) == ("ci", "admin")
    assert client.get("/v1/me", headers=bearer(old["key"])).status_code == 401
    assert client.get("/v1/me", headers=bearer(new["key"])).status_code == 200
    again = client.post(f"/v1/keys/{old['id']}/rotate")
    assert (again.status_code, again.json()["type"]) == (409, "urn:fedkrso:problem:conflict")


def test_a_grace_lets_both_keys_work_for_a_while(client: TestClient) -> None:
    old = made(client)
    new = client.post(f"/v1/keys/{old['id']}/rotate", json={"grace_s": 600}).json()
    for key in (old, new):
        assert client.get("/v1/me", headers=bearer(key["key"])).status_code == 200
    assert new["expires_at"] is None
    listed = {key["id"]: key for key in client.get("/v1/keys").json()["items"]}
    assert listed[old["id"]]["expires_at"] is not None


def test_keys_of_others_do_not_exist(client: TestClient, engine: Engine) -> None:
    mine, theirs = people.user(engine, "mine"), people.user(engine, "theirs")
    for method, path in (("DELETE", ""), ("POST", "/rotate")):
        answer = client.request(method, f"/v1/keys/{theirs.id}{path}", headers=bearer(mine))
        assert answer.status_code == 404
    assert client.get("/v1/keys?user=theirs", headers=bearer(mine)).status_code == 403
    own = client.get("/v1/keys", headers=bearer(mine)).json()["items"]
    assert [key["id"] for key in own] == [mine.id]


@pytest.mark.parametrize("body", [{"user": "admin"}, {"role": "worker"}, {"user": "nobody"}])
def test_an_operator_makes_keys_for_nobody_else(
    client: TestClient, engine: Engine, body: Json
) -> None:
    mine = people.user(engine, "mine")
    assert client.post("/v1/keys", json=body, headers=bearer(mine)).status_code == 403
    assert client.post("/v1/keys", json={"user": "mine"}, headers=bearer(mine)).status_code == 201


def test_a_key_that_ends_makes_no_key_that_lasts_longer(client: TestClient, engine: Engine) -> None:
    people.user(engine, "mine")
    short = people.key(engine, "mine", expires_in_s=3600)
    for body in ({}, {"expires_in_s": 7200}):
        new = client.post("/v1/keys", json=body, headers=bearer(short)).json()
        assert new["expires_at"] == short.model_dump(mode="json")["expires_at"]


def test_a_workers_key_belongs_to_nobody_and_opens_only_the_workers_routes(
    client: TestClient,
) -> None:
    worker = made(client, role="worker", label="gpu-1")
    assert worker["user"] is None
    claimed = client.post(
        "/v1/assignments/claim", json={"worker": "w"}, headers=bearer(worker["key"])
    )
    assert claimed.status_code == 204
    assert client.get("/v1/me", headers=bearer(worker["key"])).status_code == 403


def test_the_last_use_is_noted_at_most_once_a_minute(client: TestClient, engine: Engine) -> None:
    new = made(client)
    assert row(engine, new["id"]).last_used_at is None
    client.get("/v1/me", headers=bearer(new["key"]))
    first = row(engine, new["id"]).last_used_at
    assert first is not None
    client.get("/v1/me", headers=bearer(new["key"]))
    assert row(engine, new["id"]).last_used_at == first
    callers._noted.clear()
    with writing(engine) as session:
        session.execute(update(Key).where(Key.id == new["id"]).values(last_used_at=first - 61))
    client.get("/v1/me", headers=bearer(new["key"]))
    assert (row(engine, new["id"]).last_used_at or 0) >= first


def test_a_request_does_not_wait_for_the_note_of_its_key(
    client: TestClient, engine: Engine
) -> None:
    new = made(client)
    with writing(engine) as session:  # holds the database, or the key's row
        session.execute(update(Key).where(Key.id == new["id"]).values(label="held"))
        assert client.get("/v1/me", headers=bearer(new["key"])).status_code == 200
    assert row(engine, new["id"]).last_used_at is None


def test_a_note_that_fails_fails_no_request(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = made(client)

    def full(*_: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("disk is full"))

    monkeypatch.setattr(callers.access, "note_use", full)
    assert client.get("/v1/me", headers=bearer(new["key"])).status_code == 200


def test_old_and_foreign_forms_of_a_key_go_on_working(client: TestClient, engine: Engine) -> None:
    for secret in ("anything-a-person-typed", "fk_" + "x" * 43, f"fk_{'a' * 16}_{'b' * 43}"):
        keys.store(engine, secret, "admin")
        answer = client.get("/v1/me", headers=bearer(secret))
        assert (answer.status_code, answer.json()["user"]) == (200, "admin"), secret
    assert secret.split("_")[1] in {key["id"] for key in client.get("/v1/keys").json()["items"]}


def test_the_bootstrap_key_is_an_admins_and_comes_back_from_no_revocation(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    me = client.get("/v1/me").json()
    assert (me["user"], me["role"], me["projects"]) == ("admin", "admin", ["default"])
    assert me["key"]["label"] == "bootstrap"
    client.delete(f"/v1/keys/{me['key']['id']}")
    keys.store(engine, settings.bootstrap_api_key, "admin")  # the API starts again
    assert client.get("/v1/me").status_code == 401
    with reading(engine) as session:
        found = session.scalars(select(Key).where(Key.hash == keys.hash_of(USER_KEY))).all()
    assert len(found) == 1
