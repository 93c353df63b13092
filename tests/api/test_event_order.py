"""Whoever reads events on from the last one it saw misses none, whichever commit came first."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.orm import Session

from api.db import jobs
from api.db.session import reading, writing
from tests.api.house import House


def note(session: Session, job_id: str, text: str) -> None:
    jobs.add_event(session, job_id, time.time(), "test", text)
    session.flush()


def newer(house: House, job_id: str, after: int) -> tuple[list[str], int]:
    """What a reader of the stream gets, and from where it goes on."""
    with reading(house.engine) as session:
        found = jobs.events(session, job_id, after, 100)
        return [event.text for event in found], found[-1].id if found else after


def test_an_event_that_is_committed_late_is_not_skipped(house: House) -> None:
    job_id = house.job()
    early_noted, may_commit = threading.Event(), threading.Event()

    def early() -> None:
        with writing(house.engine) as session:
            note(session, job_id, "early")
            early_noted.set()
            assert may_commit.wait(30)

    def late() -> None:
        with writing(house.engine) as session:
            note(session, job_id, "late")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(early)
        assert early_noted.wait(30)
        second = pool.submit(late)
        time.sleep(0.3)  # time enough for the second to be committed, if nothing holds it
        seen, after = newer(house, job_id, 0)
        may_commit.set()
        first.result()
        second.result()
    more, _ = newer(house, job_id, after)
    assert [*seen, *more] == ["early", "late"]


def test_many_writers_leave_no_gap_to_a_reader(house: House) -> None:
    job_id, writers, each = house.job(), 4, 15
    over = threading.Event()

    def write(writer: int) -> None:
        for number in range(each):
            with writing(house.engine) as session:
                note(session, job_id, f"{writer}-{number}")
                time.sleep(0.002 * (writer % 2))  # some take longer from the note to the commit

    def read() -> list[str]:
        seen, after, last = [], 0, False
        while True:
            found, after = newer(house, job_id, after)
            seen += found
            if last:
                return seen
            last = over.is_set() and not found

    with ThreadPoolExecutor(writers + 1) as pool:
        reader = pool.submit(read)
        for one in [pool.submit(write, n) for n in range(writers)]:
            one.result()
        over.set()
        seen = reader.result()
    assert sorted(seen) == sorted(f"{w}-{n}" for w in range(writers) for n in range(each))
