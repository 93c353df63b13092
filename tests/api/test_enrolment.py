"""External clients enrol with an invitation, and what their keys can and cannot do."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, update

from api.db.session import reading, writing
from api.db.tables import External, Invitation, Key
from api.services import projects
from tests.api import people
from tests.api.house import House

Json = dict[str, Any]
HARDWARE = {"device": "cpu", "free_memory_bytes": 2**30, "threads": 2}


def invite(http: TestClient, **asked: Any) -> str:
    answer = http.post("/v1/invitations", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def enrol(http: TestClient, token: str, name: str = "hospital-a") -> httpx.Response:
    body = {"name": name, "version": "0.1.0", "hardware": HARDWARE}
    return http.post("/v1/enrolments", json=body, headers=people.bearer(token))


def enrolled(http: TestClient, name: str = "hospital-a", **asked: Any) -> Json:
    answer = enrol(http, invite(http, **asked), name)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def say_hello(http: TestClient, key: str) -> httpx.Response:
    return http.put("/v1/client", json={"version": "0.2.0"}, headers=people.bearer(key))


def test_a_token_becomes_a_key_and_only_hashes_are_kept(client: TestClient, engine: Engine) -> None:
    token = invite(client, labels={"site": "eu"})
    made = enrol(client, token).json()
    assert made["client"]["labels"] == {"site": "eu"}
    assert made["client"]["hardware"] == HARDWARE
    me = client.get("/v1/client", headers=people.bearer(made["key"])).json()
    assert (me["name"], me["project"], me["state"]) == ("hospital-a", "default", "active")
    with reading(engine) as session:
        stored = [row.hash for row in session.query(Key)] + [session.query(Invitation).one().hash]
    assert not {token, made["key"]} & set(stored)
    assert all(len(digest) == 64 for digest in stored)


def test_an_invitation_is_used_up_once_the_key_was_used(client: TestClient) -> None:
    token = invite(client)
    first = enrol(client, token).json()["key"]
    # the answer got lost: the same client asks again, and the key that nobody has is void
    second = enrol(client, token).json()["key"]
    assert say_hello(client, first).status_code == 401
    assert say_hello(client, second).status_code == 200
    again = enrol(client, token)
    assert (again.status_code, again.json()["type"]) == (409, "urn:fedkrso:problem:conflict")
    assert "was used" in again.json()["detail"]


def test_a_token_enrols_one_client(client: TestClient) -> None:
    token = invite(client)
    assert enrol(client, token, "a").status_code == 201
    assert enrol(client, token, "b").status_code == 409


@pytest.mark.parametrize("gone", ["expired", "revoked", "wrong"])
def test_a_token_that_is_not_valid_opens_nothing(
    client: TestClient, engine: Engine, gone: str
) -> None:
    token = invite(client)
    invitation = token.split("_")[1]
    if gone == "expired":
        with writing(engine) as session:
            session.execute(update(Invitation).values(expires_at=time.time() - 1))
    elif gone == "revoked":
        assert client.delete(f"/v1/invitations/{invitation}").json()["state"] == "revoked"
    else:
        token += "x"
    assert enrol(client, token).status_code == 401


def test_a_token_can_do_nothing_but_enrol(client: TestClient) -> None:
    headers = people.bearer(invite(client))
    for path in ("/v1/jobs", "/v1/client", "/v1/clients", "/v1/me"):
        assert client.get(path, headers=headers).status_code == 403, path


def test_a_name_is_taken_until_its_client_is_revoked(client: TestClient) -> None:
    first = enrolled(client)
    taken = enrol(client, invite(client))
    assert taken.status_code == 409
    assert "choose another name" in taken.json()["detail"]
    revoked = client.delete(f"/v1/clients/{first['client']['id']}").json()
    assert (revoked["state"], revoked["keys"]) == ("revoked", [])
    assert say_hello(client, first["key"]).status_code == 401
    anew = enrolled(client)
    assert anew["client"]["id"] == first["client"]["id"]
    assert say_hello(client, anew["key"]).status_code == 200


def test_a_client_rotates_its_own_key(client: TestClient) -> None:
    old = enrolled(client)["key"]
    answer = client.post("/v1/client/rotate", headers=people.bearer(old))
    assert answer.status_code == 201
    assert say_hello(client, old).status_code == 401
    assert say_hello(client, answer.json()["key"]).status_code == 200


def test_what_a_client_says_of_itself_is_shown_with_when_it_was_heard_of(
    client: TestClient,
) -> None:
    made = enrolled(client)
    assert made["client"]["heartbeat_at"] is None
    say_hello(client, made["key"])
    (shown,) = client.get("/v1/clients").json()["items"]
    assert shown["version"] == "0.2.0"
    assert shown["heartbeat_at"] is not None
    assert shown == client.get(f"/v1/clients/{shown['id']}").json()


def test_any_request_of_a_client_is_a_sign_of_life(client: TestClient, engine: Engine) -> None:
    made = enrolled(client)
    client.get("/v1/client", headers=people.bearer(made["key"]))
    with reading(engine) as session:
        row = session.get_one(External, made["client"]["id"])
    assert row.heartbeat_at == pytest.approx(time.time(), abs=60)


def test_labels_are_changed_by_operators(client: TestClient) -> None:
    made = enrolled(client, labels={"site": "eu"})
    path = f"/v1/clients/{made['client']['id']}"
    assert client.patch(path, json={"labels": {"site": "us"}}).json()["labels"] == {"site": "us"}
    refused = client.patch(path, json={"labels": {"site": "a b"}})
    assert refused.status_code == 422


def test_clients_and_invitations_of_other_projects_do_not_exist(
    client: TestClient, engine: Engine
) -> None:
    people.project(engine, "theirs")
    theirs = enrolled(client, project="theirs")["client"]["id"]
    ours = people.bearer(people.user(engine, "u", "operator", people.project(engine, "ours")))
    assert client.get("/v1/clients", headers=ours).json()["items"] == []
    assert client.get("/v1/invitations", headers=ours).json()["items"] == []
    invitation = client.get("/v1/invitations").json()["items"][0]["id"]
    for method, path in (("GET", f"clients/{theirs}"), ("DELETE", f"clients/{theirs}"),
                         ("DELETE", f"invitations/{invitation}")):  # fmt: skip
        assert client.request(method, f"/v1/{path}", headers=ours).status_code == 404
    asked = {"project": "theirs"}
    assert client.post("/v1/invitations", json=asked, headers=ours).status_code == 404
    assert client.get("/v1/clients", params=asked, headers=ours).status_code == 404


def test_a_viewer_sees_clients_and_cannot_invite(client: TestClient, engine: Engine) -> None:
    enrolled(client)
    viewer = people.bearer(people.user(engine, "v", "viewer", "default"))
    assert len(client.get("/v1/clients", headers=viewer).json()["items"]) == 1
    assert client.post("/v1/invitations", json={}, headers=viewer).status_code == 403


def test_a_project_goes_with_its_invitations_but_not_with_clients(
    client: TestClient, engine: Engine
) -> None:
    people.project(engine, "brief")
    made = enrolled(client, project="brief")
    refused = client.delete("/v1/projects/brief")
    assert (refused.status_code, "revoke them first" in refused.text) == (409, True)
    client.delete(f"/v1/clients/{made['client']['id']}")
    assert client.delete("/v1/projects/brief").status_code == 204
    assert client.get("/v1/invitations").json()["items"] == []
    assert projects.listing(engine, people.ADMIN, 100)[0].name == "default"


def test_the_audit_log_says_who_invited_and_who_enrolled(client: TestClient) -> None:
    made = enrolled(client)
    client.delete(f"/v1/clients/{made['client']['id']}")
    lines = client.get("/v1/audit").json()["items"]
    acts = {line["action"]: line for line in lines}
    assert acts["invitations.create_invitation"]["user"] == "admin"
    assert acts["enrolment.enrol"]["target"] == made["client"]["id"]
    assert acts["enrolment.enrol"]["role"] == "invitation"
    assert acts["external clients.revoke_client"]["detail"] == "client 'hospital-a'"


def test_an_admin_sees_a_clients_key_among_the_keys(client: TestClient, house: House) -> None:
    made = enrolled(client)
    (key,) = [k for k in client.get("/v1/keys").json()["items"] if k["role"] == "client"]
    assert (key["client"], key["label"]) == (made["client"]["id"], "hospital-a")
    client.delete(f"/v1/keys/{key['id']}")
    assert say_hello(client, made["key"]).status_code == 401
