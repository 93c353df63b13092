"""Every waiting state says what it waits for, since when and until when."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from api.coordinator import hold
from api.db import rounds
from api.schemas import WaitingOut
from api.services import jobs, life
from tests.api.house import House


def waits(house: House, job_id: str) -> list[WaitingOut]:
    found = jobs.get(house.engine, job_id)
    if found.waiting:  # the sentence is made of the list
        assert found.waiting_for is not None
        assert found.waiting_for.startswith(found.waiting[0].what)
    else:
        assert found.waiting_for is None
    return found.waiting


def at(seconds: float | None) -> datetime:
    assert seconds is not None
    return datetime.fromtimestamp(seconds, UTC)


def test_a_new_job_waits_for_a_coordinator(house: House) -> None:
    job_id = house.job()
    (wait,) = waits(house, job_id)
    assert wait.what == "a coordinator to start the job"
    assert wait.since == at(house.get(job_id).created_at)


def test_a_round_waits_for_its_updates_and_each_of_its_clients(house: House) -> None:
    job_id = house.open_job(clients=3)
    house.hand_in(house.claim())
    seat = house.claim("gpu-1")
    house.heartbeat(seat, step=4)
    whole, training, pending = waits(house, job_id)
    row, leased = house.round(job_id), house.seat(seat.id)
    assert whole.what == "round 1: 1 of 3 updates (at its deadline 2 will do)"
    assert (whole.since, whole.until, whole.client) == (at(row.opened_at), at(row.deadline), None)
    assert training.what == "client 1 trains (step 4 of 10, last heartbeat 0 s ago)"
    assert (training.since, training.until) == (at(leased.leased_at), at(leased.lease_until))
    assert training.client == 1
    assert (pending.what, pending.client) == ("client 2 waits for a worker", 2)
    assert pending.since == at(house.seats(job_id)[2].created_at)


def test_a_client_that_lost_its_lease_waits_since_then(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.set_seat(house.seats(job_id)[0].id, created_at=time.time() - 500, pending_at=1.0)
    house.give_back(house.claim())
    wait = waits(house, job_id)[1]
    assert wait.since is not None
    assert wait.since.timestamp() == pytest.approx(time.time(), abs=60)


def test_an_aggregation_has_a_beginning_and_an_end_of_its_hold(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())
    assert waits(house, job_id)[0].what == "a coordinator to aggregate round 1"
    with hold.held(house.store, house.get(job_id), 1, rounds.start_aggregating):
        (wait,) = waits(house, job_id)
        row = house.round(job_id)
        assert wait.what == "the aggregation of round 1"
        assert wait.since == at(row.aggregating_at)
        assert wait.until is not None
        assert wait.until > wait.since
    (wait,) = waits(house, job_id)  # whoever held it is gone
    assert wait.what == "a coordinator to aggregate round 1 anew"


def test_a_paused_job_says_who_paused_it(house: House) -> None:
    job_id = house.open_job(clients=1)
    life.pause(house.engine, job_id)
    (wait,) = waits(house, job_id)
    assert wait.what == "somebody to resume it: it was paused by a user"
    assert wait.since == at(house.get(job_id).stopped_at)


def test_an_ended_job_waits_for_nothing(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.finish_round(job_id)
    assert waits(house, job_id) == []


def test_a_long_list_is_a_short_sentence(house: House) -> None:
    job_id = house.open_job(clients=9)
    found = jobs.get(house.engine, job_id)
    assert len(found.waiting) == 10
    assert found.waiting_for is not None
    assert found.waiting_for.endswith("client 2 waits for a worker; 6 more")
