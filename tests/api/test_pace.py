"""How often the service asks its clients to come."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.services.pace import Pace
from tests.api.exchange import as_worker
from tests.api.house import House


def test_few_clients_are_heard_each_second(engine: Engine) -> None:
    assert Pace().heartbeat_s(engine, lease_s=30.0) == 1.0


@pytest.mark.parametrize(("clients", "pace_s"), [(100, 1.0), (450, 4.5), (2000, 7.5)])
def test_many_clients_are_heard_less_often_but_four_times_in_a_lease(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, clients: int, pace_s: float
) -> None:
    monkeypatch.setattr("api.db.rounds.count_leased", lambda _: clients)
    assert Pace().heartbeat_s(engine, lease_s=30.0) == pace_s


def test_leases_are_counted_once_for_many_heartbeats(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([200, 900])
    monkeypatch.setattr("api.db.rounds.count_leased", lambda _: next(counts))
    pace = Pace()
    assert [pace.heartbeat_s(engine, 60.0) for _ in range(3)] == [2.0] * 3


def test_claim_and_heartbeat_tell_the_pace(house: House) -> None:
    house.open_job(clients=1)
    seat = house.claim()
    assert seat.heartbeat_s == 1.0
    assert house.heartbeat(seat).heartbeat_s == 1.0


def test_who_finds_no_work_is_told_when_to_ask_again(client: TestClient) -> None:
    body: dict[str, Any] = {"worker": "w1"}
    answer = client.post("/v1/assignments/claim", json=body, headers=as_worker())
    assert (answer.status_code, answer.headers["retry-after"]) == (204, "5")
