"""Several coordinators at once, late ones, and those that died; on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from api.assignment_schemas import AssignmentOut
from api.coordinator import rounds as steps
from api.db import rounds
from api.db.session import writing
from fedkrso_core.errors import DataError
from tests.api.house import House, is_refused, toy_update
from tests.api.toy import ToyStore


def test_advancing_again_and_again_changes_nothing(house: House) -> None:
    job_id = house.open_job(clients=2)
    before = [event.text for event in house.events(job_id)]
    for _ in range(3):
        house.advance(job_id)
    assert [event.text for event in house.events(job_id)] == before


def test_many_coordinators_start_a_job_once(house: House) -> None:
    job_id = house.job(clients=2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(house.advance, [job_id] * 4))
    assert house.count(job_id, "started") == 1
    assert house.count(job_id, "round-opened") == 1
    assert len(house.seats(job_id)) == 2
    assert house.get(job_id).errors == 0


def test_many_coordinators_close_a_round_once(house: House) -> None:
    job_id = house.open_job(clients=2, rounds=2)
    for _ in range(2):
        house.hand_in(house.claim())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(house.advance, [job_id] * 4))
    assert house.count(job_id, "round-closed") == 1
    assert house.count(job_id, "round-opened") == 2
    assert house.get(job_id).errors == 0


def test_a_round_that_is_being_aggregated_is_left_alone(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())
    entered, leave = threading.Event(), threading.Event()

    def slowly() -> None:
        entered.set()
        leave.wait(10)

    house.store.before = slowly
    first = threading.Thread(target=house.advance, args=(job_id,))
    first.start()
    assert entered.wait(10)
    house.store = ToyStore()
    house.advance(job_id)
    assert house.round(job_id).state == "aggregating"
    leave.set()
    first.join()
    assert house.count(job_id, "round-closed") == 1
    assert house.get(job_id).state == "done"


def take(house: House, job_id: str, fence: str, until: float) -> bool:
    row = house.round(job_id)
    with writing(house.engine) as session:
        return rounds.start_aggregating(session, row, fence, time.time(), until)


def test_a_round_is_held_by_one_coordinator_until_its_hold_runs_out(house: House) -> None:
    job_id = house.open_job(clients=1)
    now = time.time()
    assert take(house, job_id, "first", now + 60)
    assert not take(house, job_id, "second", now + 60)
    house.set_round(job_id, aggregator_until=now - 1)
    assert take(house, job_id, "second", now + 60)
    with writing(house.engine) as session:
        assert not rounds.keep_hold(session, job_id, 1, "first", now + 60)
        assert not rounds.close(session, job_id, 1, "first")
        assert rounds.close(session, job_id, 1, "second")


def test_a_coordinator_that_died_is_replaced_after_its_hold_ran_out(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())
    assert take(house, job_id, "died", time.time() + 60)
    house.advance(job_id)
    assert house.round(job_id).state == "aggregating"
    house.set_round(job_id, aggregator_until=time.time() - 1)
    house.advance(job_id)
    assert house.get(job_id).state == "done"


def test_a_long_aggregation_keeps_its_hold(house: House) -> None:
    house.settings.aggregate_lease_s = 0.2
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())
    house.store.before = lambda: time.sleep(0.5)
    first = threading.Thread(target=house.advance, args=(job_id,))
    first.start()
    while house.round(job_id).state == "collecting":
        time.sleep(0.01)
    time.sleep(0.3)
    assert not take(house, job_id, "impatient", time.time() + 60)
    first.join()
    assert house.get(job_id).state == "done"


def test_no_client_is_given_work_of_a_round_that_is_being_aggregated(house: House) -> None:
    job_id = house.open_job(clients=2)
    house.hand_in(house.claim())
    late = house.claim()
    house.deadline_passes(job_id)
    asked: list[AssignmentOut | None] = []

    def meanwhile() -> None:
        house.store.before = lambda: None
        house.lease_runs_out(late.id)
        house.advance(job_id)  # another coordinator's tick
        asked.append(house.claim_or_none("w2"))

    house.store.before = meanwhile
    house.advance(job_id)
    assert asked == [None]


def test_an_update_that_comes_while_its_round_is_aggregated_is_refused(house: House) -> None:
    job_id = house.open_job(clients=2)
    house.hand_in(house.claim(), toy_update((1.0, 1.0)))
    late = house.claim()
    house.deadline_passes(job_id)

    def meanwhile() -> None:
        house.store.before = lambda: None
        is_refused(409, "stale-lease", lambda: house.hand_in(late, toy_update((3.0, 3.0))))

    house.store.before = meanwhile
    house.advance(job_id)
    assert house.get(job_id).state == "done"
    assert [seat.bytes_up for seat in house.seats(job_id, 1)] == [len(toy_update()), 0]


def test_two_coordinators_extend_a_round_once(house: House) -> None:
    job_id = house.open_job(clients=2)
    for _ in range(2):
        steps.extend(house.store, house.get(job_id), 1)
    assert house.count(job_id, "round-extended") == 1


def fails_times(count: int, error: Exception) -> Callable[[], None]:
    left = iter(range(count))

    def before() -> None:
        if next(left, None) is not None:
            raise error

    return before


def test_an_unexpected_error_is_tried_again(house: House) -> None:
    house.store.before = fails_times(2, RuntimeError("boom"))
    job_id = house.job(clients=1)
    for _ in range(3):
        house.advance(job_id)
    assert house.get(job_id).state == "running"
    house.finish_round(job_id)
    assert (house.get(job_id).state, house.get(job_id).errors) == ("done", 0)


def test_a_job_with_three_unexpected_errors_fails_and_says_so(house: House) -> None:
    house.store.before = fails_times(9, RuntimeError("boom"))
    job_id = house.job(clients=1)
    for _ in range(4):
        house.advance(job_id)
    assert house.get(job_id).state == "failed"
    assert house.get(job_id).reason == "internal error after 3 tries: RuntimeError: boom"
    assert house.events(job_id)[-1].text.startswith("Job failed: internal error after 3 tries")


def test_an_error_with_a_reason_fails_the_job_at_once(house: House) -> None:
    house.store.before = fails_times(1, DataError("the rows are gone"))
    job_id = house.job(clients=1)
    house.advance(job_id)
    assert house.get(job_id).state == "failed"
    assert house.get(job_id).reason == "the rows are gone"
