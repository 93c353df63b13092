"""advance(job): ask the engine what a job needs, do it, ask again.

Anyone may call it at any time and as often as they like: each step is one transaction that a
compare-and-swap guards, so that two coordinators, or one that died half-way, do no harm.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import assert_never

from sqlalchemy.orm import Session

from api import queue
from api.coordinator import rounds as steps
from api.coordinator.snapshot import view_of
from api.coordinator.store import Store
from api.db import jobs, rounds
from api.db.session import writing
from api.db.tables import Job
from api.services.work import release
from fedkrso_core import engine
from fedkrso_core.errors import CoreError

_log = logging.getLogger("api.coordinator")
_MAX_ERRORS = 3


@lru_cache
def store() -> Store:
    """The process's store."""
    return Store()


def advance(job_id: str) -> None:
    """Does everything that the job needs now; a job that cannot go on fails with the reason."""
    try:
        while _step(store(), job_id):
            pass
    except CoreError as error:
        _fail(store(), job_id, str(error))
    except Exception as error:
        _log.exception("job %s", job_id)
        _count_error(store(), job_id, error)


def _step(s: Store, job_id: str) -> bool:
    """One action; False when there is nothing more to do now."""
    with writing(s.engine) as session:
        job = session.get(Job, job_id)
        if job is None:  # deleted
            s.forget(job_id)
        if job is None or job.state not in jobs.OPEN_STATES:
            return False
        hints = _release_expired(session, s, job_id)
        view = view_of(session, job)
    if job.state == "queued":
        steps.start(s, job)
        return True
    queue.hint_training(hints)
    return _carry_out(s, job, engine.next_action(view, time.time(), s.settings.quorum))


def _carry_out(s: Store, job: Job, action: engine.Action) -> bool:
    match action:
        case engine.Open(number):
            steps.open_round(s, job, number)
        case engine.Aggregate(number):
            return steps.aggregate(s, job, number)
        case engine.Extend(number):
            steps.extend(s, job, number)
        case engine.Fail(reason):
            _fail(s, job.id, reason)
        case engine.Finish(reason):
            steps.finish(s, job, reason)
        case engine.Wait():
            return False
        case _:
            assert_never(action)
    return True


def _release_expired(session: Session, s: Store, job_id: str) -> int:
    """Takes lost leases away and announces waiting work again; returns how many hints to send."""
    now, hints = time.time(), 0
    for seat in rounds.expired(session, job_id, now):
        silent = now - (seat.heartbeat_at or now)
        reason = f"{seat.worker} was silent for {silent:.0f} s"
        release(session, seat, reason, s.settings.max_attempts)
        hints += 1
    for seat in rounds.unheard(session, job_id, now - s.settings.rehint_s):
        seat.hinted_at = now
        hints += 1
    return hints


def _fail(s: Store, job_id: str, reason: str) -> None:
    now = time.time()
    with writing(s.engine) as session:
        if jobs.move(session, job_id, jobs.OPEN_STATES, "failed", reason=reason, finished_at=now):
            rounds.cancel_seats(session, job_id)
            jobs.add_event(session, job_id, now, "failed", f"Job failed: {reason}")
    s.forget(job_id)


def _count_error(s: Store, job_id: str, error: Exception) -> None:
    """An error that nobody foresaw: tried again by the ticker, but not for ever."""
    with writing(s.engine) as session:
        job = session.get(Job, job_id)
        if job is None:
            return
        job.errors += 1
        tries = job.errors
    if tries >= _MAX_ERRORS:
        _fail(s, job_id, f"internal error after {tries} tries: {type(error).__name__}: {error}")
