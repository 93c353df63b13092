"""A clock in the coordinator: every open job is looked at again and again, whatever got lost."""

from __future__ import annotations

import logging
import threading
import time

from api import queue
from api.db import jobs
from api.db.session import engine_of, reading
from api.settings import settings

_log = logging.getLogger("api.coordinator")


def start() -> None:
    """Starts the clock in a thread that ends with the process."""
    threading.Thread(target=_run, name="ticker", daemon=True).start()


def _run() -> None:
    while True:
        try:
            tick()
        except Exception as error:
            # whatever is away will be back, and a clock that stopped would stop every job
            what = str(error).partition("\n")[0]
            _log.warning("the ticker has to wait: %s: %s", type(error).__name__, what)
        time.sleep(settings().tick_s)


def tick() -> None:
    """Sends a hint for each open job and each export, unless hints wait to be carried out.

    It remembers nothing: what is in the queue, not what was sent, says whether more is needed. So
    a broker that lost its messages, or a coordinator that died with one, stops nothing.
    """
    if queue.coordinators_are_behind():
        return
    with reading(engine_of(settings().database)) as session:
        open_jobs = jobs.open_ids(session)
        exports = [(e.job_id, e.number) for e in jobs.pending_exports(session)]
    for job_id in open_jobs:
        queue.hint_advance(job_id)
    for job_id, number in exports:
        queue.hint_export(job_id, number)
