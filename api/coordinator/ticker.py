"""A clock in the coordinator: whatever got lost, jobs that run or may start are looked at again."""

from __future__ import annotations

import logging
import threading
import time

from api import queue
from api.db import jobs, slots
from api.db.session import engine_of, reading
from api.services import room
from api.settings import settings

# its age says how long ago the clock last went round; a container's health check looks at it
ALIVE_FILE = "coordinator.alive"
_log = logging.getLogger("api.coordinator")


def start() -> None:
    """Starts the clock in a thread that ends with the process."""
    threading.Thread(target=_run, name="ticker", daemon=True).start()


def _run() -> None:
    collect_at = 0.0
    while True:
        try:
            tick()
            if time.monotonic() >= collect_at:
                collect_at = time.monotonic() + settings().collect_every_s
                queue.hint_collect()
            (settings().home / ALIVE_FILE).touch()
        except Exception as error:
            # whatever is away will be back, and a clock that stopped would stop every job
            what = str(error).partition("\n")[0]
            _log.warning("the ticker has to wait: %s: %s", type(error).__name__, what)
        time.sleep(settings().tick_s)


def tick() -> None:
    """Sends a hint for each job that can go on and each export, unless hints wait already.

    It remembers nothing: what is in the queue, not what was sent, says whether more is needed. So
    a broker that lost its messages, or a coordinator that died with one, stops nothing.
    """
    engine = engine_of(settings().database)
    room.resume_where_possible(engine, settings())
    if queue.coordinators_are_behind():
        return
    with reading(engine) as session:
        due = slots.next_in_line(session, settings().max_running)
        open_jobs = [*jobs.running_ids(session), *due]
        exports = [(e.job_id, e.number) for e in jobs.pending_exports(session)]
    for job_id in open_jobs:
        queue.hint_advance(job_id)
    for job_id, number in exports:
        queue.hint_export(job_id, number)
