"""A clock in the coordinator: every open job is looked at again and again, whatever got lost."""

from __future__ import annotations

import logging
import threading
import time
from typing import ClassVar

from sqlalchemy.exc import SQLAlchemyError

from api import queue
from api.db import jobs
from api.db.session import engine_of, reading
from api.settings import settings

_log = logging.getLogger("api.coordinator")


class Ticker:
    """Sends `advance` for open jobs; never a second one before the first was carried out."""

    _waiting: ClassVar[set[str]] = set()
    _collect_at: ClassVar[float] = 0.0

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
            except SQLAlchemyError as error:
                _log.warning("the database does not answer: %s", type(error).__name__)
            time.sleep(settings().tick_s)

    @classmethod
    def _tick(cls) -> None:
        if time.monotonic() >= cls._collect_at:
            cls._collect_at = time.monotonic() + settings().collect_every_s
            queue.hint_collect()
        with reading(engine_of(settings().database)) as session:
            open_jobs = jobs.open_ids(session)
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
