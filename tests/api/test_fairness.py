"""Whose work is given out first, and how many jobs run at once; on both databases."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.db import jobs as job_rows
from api.db import slots
from api.db.session import reading
from api.services import jobs, life
from tests.api.house import House, is_refused


def claimed(house: House, count: int) -> list[str]:
    return [house.claim().job for _ in range(count)]


def test_the_highest_priority_is_served_first(house: House) -> None:
    low = house.open_job(clients=2, priority=-1)
    plain = house.open_job(clients=2)
    high = house.open_job(clients=2, priority=5)
    assert claimed(house, 6) == [high, high, plain, plain, low, low]


def test_a_priority_can_be_changed_while_the_job_runs(client: TestClient, house: House) -> None:
    first, second = house.open_job(clients=2), house.open_job(clients=2)
    answer = client.patch(f"/v1/jobs/{second}", json={"priority": 7})
    assert (answer.status_code, answer.json()["priority"]) == (200, 7)
    assert claimed(house, 4) == [second, second, first, first]
    assert house.count(second, "prioritized") == 1
    assert client.patch(f"/v1/jobs/{second}", json={"priority": 1001}).status_code == 422
    assert client.patch(f"/v1/jobs/{second}", json={"name": "x"}).status_code == 422


def test_the_priority_of_an_ended_job_stays(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.finish_round(job_id)
    is_refused(409, "conflict", lambda: life.prioritize(house.engine, job_id, 1))
    assert house.get(job_id).priority == 0


def test_equal_jobs_take_turns_and_the_oldest_begins(house: House) -> None:
    first, second = house.open_job(clients=3), house.open_job(clients=3)
    assert claimed(house, 6) == [first, second] * 3


def test_a_large_job_does_not_starve_a_small_one_of_the_same_priority(house: House) -> None:
    large = house.open_job(clients=20)
    small = house.open_job(clients=2)
    held = [house.claim() for _ in range(4)]
    assert Counter(seat.job for seat in held) == {large: 3, small: 1}
    # when the small job has nobody at work it comes next, however much the large one wants
    house.hand_in(next(seat for seat in held if seat.job == small))
    assert house.claim().job == small


def test_jobs_of_one_priority_move_on_side_by_side(house: House) -> None:
    """Four workers and two coordinators at once: no job runs away from the other."""
    both = [house.open_job(clients=3, rounds=6) for _ in range(2)]
    closed_when_first_ended: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            seat = house.claim_or_none()
            if seat is None:
                time.sleep(0.005)
            else:
                house.hand_in(seat)

    def coordinate() -> None:
        while not over.is_set():
            for job_id in both:
                house.advance(job_id)
            closed = [house.get(job_id).rounds_closed for job_id in both]
            if max(closed) == 6 and not over.is_set():
                closed_when_first_ended.append(min(closed))
                over.set()

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(call) for call in (work, work, work, work, coordinate, coordinate)]
        for one in done:
            one.result()
    # how far it is depends on when the system runs which thread; one that starves has none
    assert closed_when_first_ended[0] >= 1


def test_no_more_jobs_run_than_the_limit_with_many_coordinators(house: House) -> None:
    house.settings.max_running = 2
    all_jobs = [house.job(clients=1) for _ in range(6)]
    most = []

    def look_at_all(_: int) -> None:
        for job_id in all_jobs:
            house.advance(job_id)
            with reading(house.engine) as session:
                most.append(slots.running(session))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look_at_all, range(4)))
    assert max(most) == 2
    assert [house.get(job_id).state for job_id in all_jobs] == ["running"] * 2 + ["queued"] * 4
    assert sum(house.count(job_id, "started") for job_id in all_jobs) == 2


def test_a_job_that_is_resumed_while_another_starts_does_not_exceed_the_limit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.settings.max_running = 1
    first = house.open_job(clients=1)
    life.pause(house.engine, first)
    second = house.job(clients=1)
    count = slots.running
    resuming = threading.Thread(target=life.resume, args=(house.engine, house.settings, first))

    def slowly(session: Session) -> int:
        counted = count(session)
        if not session.connection().get_execution_options().get("reads_only"):
            monkeypatch.setattr(slots, "running", count)
            resuming.start()  # between the count and the start of the job
            resuming.join(1)
        return counted

    monkeypatch.setattr(slots, "running", slowly)
    house.advance(second)
    resuming.join(30)
    assert [house.get(job_id).state for job_id in (first, second)] == ["queued", "running"]


def test_queued_jobs_start_in_order_of_priority_then_age(house: House) -> None:
    house.settings.max_running = 1
    running = house.open_job(clients=1)
    old, new, urgent = house.job(clients=1), house.job(clients=1), house.job(priority=1)
    order = []
    while len(order) < 3:
        jobs.cancel(house.engine, ([running, *order])[-1])
        for job_id in (new, old, urgent):  # whoever asks first
            house.advance(job_id)
        order += [j for j in (old, new, urgent) if house.get(j).state == "running"]
    assert order == [urgent, old, new]


def test_a_queued_job_says_what_it_waits_for(house: House) -> None:
    house.settings.max_running = 1
    house.open_job(clients=1)
    house.job(clients=1)
    last = house.job(clients=1)
    house.advance(last)
    found = jobs.get(house.engine, last)
    limit = "1 running, at most 1 at once"
    assert found.waiting_for == f"its turn: 1 queued job before it and {limit}"
    assert found.waiting[0].since == found.created_at


def test_a_paused_job_frees_its_place_and_waits_for_one_when_it_is_resumed(house: House) -> None:
    house.settings.max_running = 1
    first, second = house.open_job(clients=1), house.job(clients=1)
    life.pause(house.engine, first)
    house.advance(second)
    assert house.get(second).state == "running"
    life.resume(house.engine, house.settings, first)
    house.advance(first)
    assert house.get(first).state == "queued"
    assert house.get(first).stopped_at is not None  # its clock still stands still
    jobs.cancel(house.engine, second)
    house.advance(first)
    assert (house.get(first).state, house.get(first).stopped_at) == ("running", None)
    house.finish_round(first)
    assert house.get(first).state == "done"


def test_the_clock_asks_for_running_jobs_and_those_whose_turn_it_is(house: House) -> None:
    house.settings.max_running = 2
    running = house.open_job(clients=1)
    due, _ = house.job(clients=1), house.job(clients=1)
    with reading(house.engine) as session:
        assert list(job_rows.running_ids(session)) == [running]
        assert list(slots.next_in_line(session, 2)) == [due]
