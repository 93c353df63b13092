"""How the service is: its parts, what waits in the queue, and which workers were heard of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import get_args

from sqlalchemy import Engine

from api import queue
from api.blobs import Blobs
from api.db import figures
from api.db.session import reading
from api.db.tables import Job
from api.schemas import JobState, ServiceOut, WorkerOut
from api.services import probes
from api.services.patience import Patient
from api.services.views import moment
from fedkrso_core import __version__
from messaging.depth import depths

PARTS = ("database", "broker", "blobs")
OK = "ok"
# a worker that did nothing for so long is not listed
_HEARD_S = 3600.0
_LIMIT_S = 3.0


@lru_cache(maxsize=1)
def readiness(engine: Engine, blobs: Blobs) -> probes.Readiness:
    """The checks of the process, which all who ask share."""
    return probes.readiness(engine, blobs)


@lru_cache(maxsize=1)
def _depths() -> Patient[dict[str, int]]:
    return Patient("depths", lambda: depths(queue.celery_app(), queue.broker()))


def condition(engine: Engine, blobs: Blobs) -> ServiceOut:
    """All of it; what does not work is said so and leaves the rest out."""
    waiting = _depths()
    waiting.begin()
    wrong = readiness(engine, blobs).ask()
    checks = {name: wrong.get(name, OK) for name in PARTS}
    found = ServiceOut(version=__version__, checks=checks, queues=_waiting(waiting))
    if "database" not in wrong:
        with reading(engine) as session:
            counted = figures.states(session, Job.state)
            found.jobs = {state: counted.get(state, 0) for state in get_args(JobState)}
            heard = figures.workers(session, time.time() - _HEARD_S)
        found.workers = [
            WorkerOut(name=name, heard_at=moment(at), busy=busy) for name, at, busy in heard
        ]
    return found


def _waiting(asked: Patient[dict[str, int]]) -> Mapping[str, int]:
    try:
        return asked.result(time.monotonic() + _LIMIT_S)
    except Exception:  # whatever the broker's client raises: its check says what is wrong
        return {}
