"""What no honest external client sends: each refused with its own type, counted, and at some point
enough; nobody else is disturbed."""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.client_schemas import Enrolled
from api.services import callers, offers, work
from api.settings import Settings
from tests.api import people
from tests.api.exchange import REPORT
from tests.api.house import House, toy_update

Json = dict[str, Any]


class Hostile:
    """A client with a lease in a job that bounds norms, beside an honest one."""

    def __init__(self, house: House, http: TestClient, rounds: int = 1) -> None:
        self.house, self.http = house, http
        self.me = people.external(house.engine, "mallory")
        self.honest = people.external(house.engine, "alice")
        rules = {"simulated": 1, "external": {"min": 2}}
        robust = {"max_norm": 10.0}
        self.job = house.open_job(3, rounds, clients_rules=rules, robust=robust)
        for made in (self.me, self.honest):
            offers.join(house.engine, self._caller(made), self.job, 10)
        house.advance(self.job)
        self.seat: Any = self.claim(self.me)

    def _caller(self, made: Enrolled) -> callers.Caller:
        return callers.authenticate(self.house.engine, f"Bearer {made.key}")

    def claim(self, made: Enrolled) -> Any:
        return work.claim(self.house.engine, self.house.settings, "x", made.client.id)

    def put(self, body: Any, seat: Any = None, **headers: str) -> httpx.Response:
        at = seat or self.seat
        sent = body if isinstance(body, bytes) else b""
        given = {
            **people.bearer(self.me),
            "X-Lease-Token": self.seat.lease_token,
            "X-Content-SHA256": hashlib.sha256(sent).hexdigest(),
            **headers,
        }
        url = f"/v1/assignments/{at.id}/update"
        return self.http.put(url, content=body, params=REPORT, headers=given)

    def shown(self) -> Json:
        return dict(self.http.get(f"/v1/clients/{self.me.client.id}").json())


@pytest.fixture
def hostile(house: House, client: TestClient) -> Hostile:
    return Hostile(house, client)


Attack = Callable[[Hostile], httpx.Response]
ATTACKS: dict[str, tuple[int, Attack]] = {
    "not-finite": (422, lambda h: h.put(toy_update((math.nan, 1.0)))),
    "too-large-norm": (422, lambda h: h.put(toy_update((8.0, 6.1)))),
    "wrong-tensors": (422, lambda h: h.put(toy_update((1.0, 2.0, 3.0)))),
    "invalid-update": (422, lambda h: h.put(b"noise")),
    "wrong-digest": (422, lambda h: h.put(toy_update(), **{"X-Content-SHA256": "0" * 64})),
    "unsupported-encoding": (
        415,
        lambda h: h.put(gzip.compress(bytes(10**6)), **{"Content-Encoding": "gzip"}),
    ),
    "too-large": (413, lambda h: h.put(iter([b"x"]), **{"Content-Length": str(10**10)})),
    "not-found": (404, lambda h: h.put(toy_update(), h.claim(h.honest))),
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_each_offence_has_its_own_refusal_and_is_counted(hostile: Hostile, kind: str) -> None:
    status, attack = ATTACKS[kind]
    answer = attack(hostile)
    found = answer.json()["type"].rpartition(":")[2]
    assert (answer.status_code, found) == (status, kind), answer.text
    shown = hostile.shown()
    assert (shown["offences"], shown["state"]) == (1, "active")
    assert shown["offence"].startswith(f"{kind}: ")
    # the honest update of the same client, and those of the others, are what they were
    assert hostile.put(toy_update()).status_code == 200


def test_a_norm_up_to_the_bound_is_allowed_and_the_message_names_both(hostile: Hostile) -> None:
    detail = hostile.put(toy_update((8.0, 6.1))).json()["detail"]
    assert detail == "the update's norm is 10.0603; this job allows up to 10"
    assert hostile.put(toy_update((8.0, 6.0))).status_code == 200


def test_an_update_of_an_earlier_round_is_no_work_for_this_one(
    house: House, client: TestClient
) -> None:
    hostile = Hostile(house, client, rounds=2)
    old = toy_update((1.0, 1.0))
    assert hostile.put(old).status_code == 200
    house.hand_in(hostile.claim(hostile.honest), toy_update())
    house.finish_round(hostile.job)
    hostile.seat = hostile.claim(hostile.me)
    answer = hostile.put(old)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (
        422,
        "replayed-update",
    )
    assert "in round 1" in answer.json()["detail"]


def test_a_lease_that_was_lost_is_no_offence(hostile: Hostile) -> None:
    answer = hostile.put(toy_update(), **{"X-Lease-Token": "another"})
    assert answer.json()["type"].endswith("stale-lease")
    assert hostile.shown()["offences"] == 0


def test_after_enough_offences_it_is_quarantined_until_somebody_releases_it(
    hostile: Hostile, house: House, client: TestClient, settings: Settings
) -> None:
    settings.quarantine_after = 2
    for _ in range(2):
        assert hostile.put(b"noise").status_code == 422
    shown = hostile.shown()
    assert (shown["state"], shown["offences"]) == ("quarantined", 2)
    assert house.seat(hostile.seat.id).error == "client mallory is in quarantine"
    for answer in (hostile.put(toy_update()), claim_over_http(client, hostile.me)):
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (
            403,
            "quarantined",
        )
    kinds = [event.kind for event in house.events(hostile.job)]
    assert (kinds.count("offence"), kinds.count("quarantined")) == (2, 1)
    # the round goes on without it
    house.hand_in(hostile.claim(hostile.honest), toy_update())
    house.finish_round(hostile.job)
    assert house.get(hostile.job).state == "done"
    released = client.post(f"/v1/clients/{hostile.me.client.id}/release").json()
    assert (released["state"], released["offences"]) == ("active", 0)
    assert claim_over_http(client, hostile.me).status_code == 204


def claim_over_http(http: TestClient, made: Enrolled) -> httpx.Response:
    return http.post("/v1/assignments/claim", json={"worker": "x"}, headers=people.bearer(made))


def test_a_quarantined_client_cannot_join_and_is_not_drawn(
    house: House, engine: Engine, client: TestClient, settings: Settings
) -> None:
    settings.quarantine_after = 1
    hostile = Hostile(house, client, rounds=2)
    hostile.put(b"noise")
    path = f"/v1/client/jobs/{hostile.job}/join"
    answer = client.post(path, json={"num_examples": 5}, headers=people.bearer(hostile.me))
    assert answer.status_code == 403
    house.hand_in(hostile.claim(hostile.honest), toy_update())
    house.finish_round(hostile.job)
    lacks = client.get(f"/v1/jobs/{hostile.job}/externals").json()["lacks"]
    assert lacks == "external clients: 1 of 2 have joined"
    client.post(f"/v1/clients/{hostile.me.client.id}/release")
    house.advance(hostile.job)
    assert [seat.client for seat in house.seats(hostile.job, 2)] == [0, 1, 2]


def test_an_assignment_that_is_gone_is_no_offence(hostile: Hostile) -> None:
    class Gone:
        id = "0" * 32

    assert hostile.put(toy_update(), Gone()).status_code == 404
    assert hostile.shown()["offences"] == 0
