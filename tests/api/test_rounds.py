"""When a round closes, is extended, or ends its job; on both databases."""

from __future__ import annotations

import time

import pytest

from api.services import jobs
from tests.api.house import House, is_refused


def test_a_round_closes_without_a_client_that_failed(house: House) -> None:
    house.settings.max_attempts = 1
    job_id = house.open_job(clients=2)
    house.give_back(house.claim())
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    assert [seat.state for seat in house.seats(job_id, 1)] == ["failed", "done"]


def test_a_job_fails_when_too_many_clients_failed(house: House) -> None:
    house.settings.max_attempts = 1
    job_id = house.open_job(clients=2)
    for _ in range(2):
        house.give_back(house.claim())
    house.advance(job_id)
    job = house.get(job_id)
    assert job.state == "failed"
    assert job.reason == "round 1: 2 of 2 clients failed, 1 updates are needed"
    assert house.round(job_id).state == "failed"


def test_a_round_waits_for_all_its_clients_before_the_deadline(house: House) -> None:
    job_id = house.open_job(clients=2)
    house.hand_in(house.claim())
    house.advance(job_id)
    assert house.round(job_id).state == "collecting"


def test_a_round_closes_with_its_quorum_at_the_deadline(house: House) -> None:
    job_id = house.open_job(clients=2)
    house.hand_in(house.claim())
    late = house.claim()
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert house.round(job_id).state == "closed"
    assert house.seat(late.id).state == "cancelled"
    assert house.seat(late.id).error == "the round closed without it"
    is_refused(409, "stale-lease", lambda: house.hand_in(late))


def test_a_round_below_its_quorum_is_extended_once_and_then_the_job_fails(house: House) -> None:
    job_id = house.open_job(clients=2)
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert house.round(job_id).extended
    assert house.round(job_id).deadline > time.time()
    assert house.get(job_id).state == "running"
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert house.get(job_id).state == "failed"
    assert house.get(job_id).reason == "round 1: 0 of 2 updates at the deadline, 1 needed"
    assert house.claim_or_none() is None


def test_cancelling_takes_the_work_back(house: House) -> None:
    job_id = house.open_job(clients=2)
    leased = house.claim()
    assert jobs.cancel(house.engine, job_id).state == "cancelled"
    assert house.claim_or_none() is None
    is_refused(409, "stale-lease", lambda: house.heartbeat(leased))
    is_refused(409, "stale-lease", lambda: house.hand_in(leased))
    house.advance(job_id)
    assert house.get(job_id).state == "cancelled"
    assert house.round(job_id).state == "failed"


def test_a_job_ends_done_with_every_round_closed(house: House) -> None:
    job_id = house.open_job(clients=2, rounds=3)
    for _ in range(3):
        house.finish_round(job_id)
    job = house.get(job_id)
    assert (job.state, job.rounds_closed) == ("done", 3)
    assert [row.state for row in house.rounds(job_id)] == ["closed"] * 4
    assert job.model_sha256 is not None


@pytest.fixture
def hints(house: House, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    monkeypatch.setattr("api.queue.hint_training", counts.append)
    return counts


def test_work_that_nobody_took_is_announced_again(house: House, hints: list[int]) -> None:
    job_id = house.open_job(clients=2)
    house.advance(job_id)
    assert sum(hints) == 2
    house.set_seat(house.seats(job_id)[0].id, hinted_at=time.time() - 60)
    house.advance(job_id)
    house.advance(job_id)
    assert sum(hints) == 3


def test_only_an_update_that_may_close_its_round_wakes_a_coordinator(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr("api.queue.hint_advance", woken.append)
    job_id = house.open_job(clients=3)
    seats = [house.claim() for _ in range(3)]
    house.hand_in(seats[0])
    house.hand_in(seats[1])
    assert woken == []
    house.hand_in(seats[2])
    assert woken == [job_id]


def test_an_update_is_the_last_also_where_another_client_gave_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr("api.queue.hint_advance", woken.append)
    job_id = house.open_job(clients=2, clients_rules={"attempts": 1})
    seats = [house.claim() for _ in range(2)]
    house.give_back(seats[1])
    house.hand_in(seats[0])
    assert woken == [job_id]


def test_a_broker_that_is_away_does_not_stop_a_job(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("api.queue.waiting", away)
    job_id = house.open_job(clients=1)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"
