"""Who may work on an assignment, and what may be handed in for it; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.assignment_schemas import AssignmentOut
from api.errors import ApiError
from tests.api.house import House, is_refused, toy_update


def test_nothing_is_claimed_before_a_round_is_open(house: House) -> None:
    house.job()
    assert house.claim_or_none() is None


def test_many_workers_at_once_get_each_assignment_once(house: House) -> None:
    house.open_job(clients=12)

    def claim_all(worker: int) -> list[AssignmentOut]:
        return list(iter(lambda: house.claim_or_none(f"w{worker}"), None))

    with ThreadPoolExecutor(6) as pool:
        claimed = [seat for seats in pool.map(claim_all, range(6)) for seat in seats]
    assert sorted(seat.client for seat in claimed) == list(range(12))
    assert len({seat.lease_token for seat in claimed}) == 12
    assert all(seat.attempt == 1 for seat in house.seats(claimed[0].job))


def test_a_silent_client_loses_its_lease_to_another_worker(house: House) -> None:
    job_id = house.open_job(clients=1)
    first = house.claim("w1")
    house.lease_runs_out(first.id)
    house.advance(job_id)
    assert house.seat(first.id).state == "pending"
    second = house.claim("w2")
    assert second.id == first.id
    assert house.seat(first.id).attempt == 2
    assert "w1 was silent for" in house.events(job_id)[-2].text


def test_a_heartbeat_keeps_the_lease_and_notes_the_step(house: House) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim()
    house.lease_runs_out(seat.id)
    house.heartbeat(seat, step=3)
    house.advance(job_id)
    assert house.seat(seat.id).state == "leased"
    assert house.seat(seat.id).step == 3


@pytest.mark.parametrize("act", [House.heartbeat, House.fetch, House.hand_in, House.give_back])
def test_a_stale_lease_can_do_nothing(
    house: House, act: Callable[[House, AssignmentOut], object]
) -> None:
    job_id = house.open_job(clients=1)
    stale = house.claim("w1")
    house.lease_runs_out(stale.id)
    house.advance(job_id)
    fresh = house.claim("w2")
    is_refused(409, "stale-lease", lambda: act(house, stale))
    assert house.seat(fresh.id).worker == "w2"
    assert house.seat(fresh.id).state == "leased"


@pytest.mark.parametrize("act", [House.heartbeat, House.fetch, House.hand_in, House.give_back])
def test_an_unknown_assignment_is_not_found(
    house: House, act: Callable[[House, AssignmentOut], object]
) -> None:
    house.open_job(clients=1)
    seat = house.claim().model_copy(update={"id": "0" * 32})
    is_refused(404, "not-found", lambda: act(house, seat))


def test_only_states_of_the_assignment_are_handed_out(house: House) -> None:
    house.open_job(clients=1)
    seat = house.claim()
    other = seat.states[0].model_copy(update={"digest": "f" * 64})
    seat = seat.model_copy(update={"states": [other]})
    is_refused(404, "not-found", lambda: house.fetch(seat))


def test_the_same_bytes_may_come_twice(house: House) -> None:
    job_id = house.open_job(clients=2)
    seat = house.claim()
    assert house.hand_in(seat) == house.hand_in(seat)
    assert house.count(job_id, "update") == 1


def test_the_same_bytes_may_come_again_after_the_job_is_done(house: House) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim()
    first = house.hand_in(seat)
    house.advance(job_id)
    assert house.get(job_id).state == "done"
    assert house.hand_in(seat) == first


def test_other_bytes_after_the_update_are_refused(house: House) -> None:
    house.open_job(clients=2)
    seat = house.claim()
    accepted = house.hand_in(seat)
    is_refused(409, "conflict", lambda: house.hand_in(seat, toy_update((9.0, 9.0))))
    assert house.seat(seat.id).digest == accepted.digest


def test_two_uploads_at_once_leave_one_update(house: House) -> None:
    house.open_job(clients=1)
    seat = house.claim()

    def send(value: float) -> int:
        try:
            house.hand_in(seat, toy_update((value, value)))
        except ApiError as refused:
            return refused.status
        return 200

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(send, [1.0, 2.0, 3.0, 4.0]))
    assert answers == [200, 409, 409, 409]
    assert house.seat(seat.id).state == "done"


def test_a_client_fails_when_its_attempts_are_used_up(house: House) -> None:
    house.settings.max_attempts = 2
    job_id = house.open_job(clients=1)
    house.give_back(house.claim(), "out of memory")
    assert house.seats(job_id, 1)[0].state == "pending"
    house.give_back(house.claim(), "out of memory")
    seat = house.seats(job_id, 1)[0]
    assert (seat.state, seat.attempt, seat.error) == ("failed", 2, "out of memory")


def test_bytes_are_counted_and_those_of_lost_attempts_apart(house: House) -> None:
    job_id = house.open_job(clients=1)
    first = house.claim("w1")
    size = house.fetch(first)
    assert size == house.round(job_id, 0).size
    house.give_back(first)
    second = house.claim("w2")
    house.fetch(second)
    accepted = house.hand_in(second)
    seat = house.seat(second.id)
    assert (seat.bytes_down, seat.bytes_lost, seat.bytes_up) == (size, size, accepted.bytes_up)
    assert accepted.bytes_up == len(toy_update())


def test_a_client_is_told_which_states_it_was_sent_before(house: House) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    house.fetch(house.claim())
    house.lease_runs_out(house.seats(job_id)[0].id)
    house.advance(job_id)
    house.finish_round(job_id)
    second = house.claim()
    assert [(state.round, state.lacking) for state in second.states] == [(0, False), (1, True)]
    house.fetch(second)
    seat = house.seat(second.id)
    assert seat.bytes_down == second.states[1].size
    assert seat.bytes_lost == second.states[0].size


def runs_out(house: House, job_id: str, seat: AssignmentOut) -> None:
    house.lease_runs_out(seat.id)
    house.advance(job_id)
    assert house.seat(seat.id).state == "pending"


@pytest.mark.parametrize("act", [House.heartbeat, House.fetch])
def test_a_client_that_was_away_takes_its_work_up_again(
    house: House, act: Callable[[House, AssignmentOut], object]
) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim("w1")
    runs_out(house, job_id, seat)
    act(house, seat)
    held = house.seat(seat.id)
    assert (held.state, held.worker, held.attempt, held.error) == ("leased", "w1", 1, None)
    assert house.claim_or_none("w2") is None
    assert house.count(job_id, "lease-resumed") == 1


def test_an_update_that_comes_after_its_lease_is_good_while_nobody_else_has_it(
    house: House,
) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim("w1")
    runs_out(house, job_id, seat)
    house.hand_in(seat)
    house.advance(job_id)
    assert house.get(job_id).state == "done"
    assert house.count(job_id, "update") == 1


@pytest.mark.parametrize("act", [House.heartbeat, House.fetch, House.hand_in])
def test_work_that_was_given_back_is_not_taken_up_again(
    house: House, act: Callable[[House, AssignmentOut], object]
) -> None:
    house.open_job(clients=1)
    seat = house.claim("w1")
    house.give_back(seat)
    is_refused(409, "stale-lease", lambda: act(house, seat))


def test_a_state_that_is_fetched_twice_is_counted_once_and_its_second_time_as_lost(
    house: House,
) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    house.finish_round(job_id)
    seat = house.claim()
    first, second = (house.round(job_id, number).size or 0 for number in (0, 1))
    lacking = sum(state.size for state in seat.states if state.lacking)
    house.fetch(seat)
    house.fetch(seat)
    row = house.seat(seat.id)
    assert row.bytes_down == lacking
    assert row.bytes_down + row.bytes_lost == 2 * (first + second)
