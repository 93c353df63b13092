"""A clock in the coordinator: whatever got lost, jobs that run or may start are looked at again."""

from __future__ import annotations

import logging
import threading
import time
from typing import ClassVar

from sqlalchemy.exc import SQLAlchemyError

from api import queue
from api.db import jobs, slots
from api.db.session import engine_of, reading
from api.services import room
from api.settings import settings

_log = logging.getLogger("api.coordinator")


class Ticker:
    """Sends `advance` for open jobs; never a second one before the first was carried out."""

    _waiting: ClassVar[set[str]] = set()

    @classmethod
    def start(cls) -> None:
        """Starts the clock in a thread that ends with the process."""
        threading.Thread(target=cls._run, name="ticker", daemon=True).start()

    @classmethod
    def carried_out(cls, job_id: str) -> None:
        """The hint for a job was taken from the queue."""
        cls._waiting.discard(job_id)

    @classmethod
    def _run(cls) -> None:
        while True:
            try:
                cls._tick()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("database or disk do not answer: %s", type(error).__name__)
            time.sleep(settings().tick_s)

    @classmethod
    def _tick(cls) -> None:
        engine = engine_of(settings().database)
        room.resume_where_possible(engine, settings())
        with reading(engine) as session:
            due = slots.next_in_line(session, settings().max_running)
            open_jobs = [*jobs.running_ids(session), *due]
            exports = [(e.job_id, e.number) for e in jobs.pending_exports(session)]
        for job_id in open_jobs:
            if job_id not in cls._waiting:
                cls._waiting.add(job_id)
                queue.hint_advance(job_id)
        for job_id, number in exports:
            mark = f"{job_id}/{number}"
            if mark not in cls._waiting:
                cls._waiting.add(mark)
                queue.hint_export(job_id, number)
