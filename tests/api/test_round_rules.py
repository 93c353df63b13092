"""What a job file says about its rounds: deadline, quorum, attempts, extra clients."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.assignment_schemas import AssignmentOut
from api.errors import ApiError
from tests.api.house import House, is_refused, toy_update


def extra_job(house: House, rounds: int = 1) -> str:
    """Five clients, of which three are chosen and one more beside them."""
    rules = {"per_round": 3, "select_extra": 1}
    return house.open_job(clients=5, rounds=rounds, clients_rules=rules)


def test_the_job_file_sets_the_deadline_of_its_rounds(house: House) -> None:
    job_id = house.open_job(clients=2, round_timeout_s=50)
    assert house.round(job_id).deadline == pytest.approx(time.time() + 50, abs=20)
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert house.round(job_id).extended
    assert house.round(job_id).deadline == pytest.approx(time.time() + 50, abs=20)


def test_the_job_file_sets_how_many_updates_will_do(house: House) -> None:
    job_id = house.open_job(clients=4, clients_rules={"min_clients": 3})
    for _ in range(2):
        house.hand_in(house.claim())
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert house.round(job_id).extended  # half of them would do by the service's default
    house.hand_in(house.claim())
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert house.get(job_id).state == "done"


def test_the_job_file_sets_the_attempts(house: House) -> None:
    job_id = house.open_job(clients=2, clients_rules={"attempts": 2})
    for _ in range(2):
        house.give_back(house.claim("w1"))
        house.set_seat(house.seats(job_id)[1].id, state="done")  # only the first is claimed
    assert (house.seats(job_id)[0].state, house.seats(job_id)[0].attempt) == ("failed", 2)


def test_extra_clients_are_chosen_and_the_first_updates_close_the_round(house: House) -> None:
    job_id = extra_job(house)
    assert len(house.seats(job_id)) == 4
    slow = house.claim("slow")
    fetched = house.fetch(slow)
    for _ in range(3):
        house.hand_in(house.claim())
    seat = house.seat(slow.id)
    assert (seat.state, seat.error) == ("cancelled", "the round closed without it")
    assert (seat.bytes_down, seat.bytes_lost) == (0, fetched)
    is_refused(409, "stale-lease", lambda: house.heartbeat(slow))
    is_refused(409, "stale-lease", lambda: house.hand_in(slow))
    house.advance(job_id)
    assert house.get(job_id).state == "done"


def test_never_more_updates_count_than_were_asked_for(house: House) -> None:
    job_id = extra_job(house)
    seats = [house.claim(f"w{n}") for n in range(4)]

    def send(seat: AssignmentOut) -> int:
        try:
            house.hand_in(seat, toy_update((1.0 + seat.client, 0.0)))
        except ApiError as refused:
            return refused.status
        return 200

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(send, seats))
    assert answers == [200, 200, 200, 409]
    house.advance(job_id)
    assert house.get(job_id).state == "done"
    assert sorted(seat.state for seat in house.seats(job_id)) == ["cancelled"] + ["done"] * 3


def test_an_extra_client_steps_in_for_one_that_failed(house: House) -> None:
    house.settings.max_attempts = 1
    job_id = extra_job(house)
    house.give_back(house.claim())
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    assert house.round(job_id).state == "closed"


def test_the_choice_of_extra_clients_is_the_same_each_time(house: House) -> None:
    chosen = set()
    for _ in range(2):
        job_id = extra_job(house, rounds=2)
        house.finish_round(job_id)
        chosen.add(tuple((seat.number, seat.client) for seat in house.seats(job_id)))
    assert len(chosen) == 1
