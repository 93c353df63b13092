"""advance(job): ask the engine what a job needs, do it, ask again.

Anyone may call it at any time and as often as they like: each step is one transaction that a
compare-and-swap guards, so that two coordinators, or one that died half-way, do no harm.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from functools import lru_cache
from typing import assert_never

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api import queue
from api.coordinator import rounds as steps
from api.coordinator.hold import GivenUp
from api.coordinator.snapshot import view_of
from api.coordinator.starting import start
from api.coordinator.store import Store
from api.db import figures, jobs, rounds
from api.db.session import writing
from api.db.tables import Job
from api.errors import is_outage
from api.services import room, rules
from api.services.work import release
from fedkrso_core import engine
from fedkrso_core.errors import CoreError
from telemetry import facts, tracing
from telemetry.redact import redact

_log = logging.getLogger("api.coordinator")
_MAX_ERRORS = 3


@lru_cache
def store() -> Store:
    """The process's store."""
    return Store()


def advance(job_id: str) -> None:
    """Does everything that the job needs now; a job that cannot go on fails with the reason."""
    with facts.about(job=job_id):
        try:
            _advance(job_id)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            _log.warning("job %s waits for the database: %s", job_id, type(error).__name__)


def _advance(job_id: str) -> None:
    try:
        while _step(store(), job_id):
            pass
    except GivenUp:
        _log.info("job %s: its work was given up", job_id)
    except CoreError as error:
        _fail(store(), job_id, str(error))
    except OSError as error:
        if room.is_full(error):
            room.pause(store().engine, store().settings, job_id, getattr(error, "size", 0))
            return
        _log.warning("job %s has to wait: %s", job_id, error)
        _note_outage(store(), job_id, error)
    except Exception as error:
        if is_outage(error):
            raise
        _log.exception("job %s", job_id)
        _count_error(store(), job_id, error)


def _step(s: Store, job_id: str) -> bool:
    """One action; False when there is nothing more to do now."""
    with writing(s.engine) as session:
        job = session.get(Job, job_id)
        if job is None:  # deleted
            s.forget(job_id)
        if job is None or job.state not in jobs.ACTIVE_STATES:
            return False
        hints = _release_expired(session, s, job)
        view = view_of(session, job)
    if job.state == "queued":
        return start(s, job)
    queue.hint_training(hints)
    action = engine.measurement(view) or engine.next_action(view, time.time(), s.settings.quorum)
    return _carry_out(s, job, action)


def _carry_out(s: Store, job: Job, action: engine.Action) -> bool:
    number = getattr(action, "round", job.rounds_closed)
    facts.note(round=number)
    name, waits = type(action).__name__.lower(), isinstance(action, engine.Wait)
    with nullcontext() if waits else tracing.round_span(name, job.id, number):
        return _do(s, job, action)


def _do(s: Store, job: Job, action: engine.Action) -> bool:
    match action:
        case engine.Open(number):
            steps.open_round(s, job, number)
        case engine.Aggregate(number):
            return steps.aggregate(s, job, number)
        case engine.Measure(number):
            steps.measure(s, job, number)
        case engine.Extend(number):
            steps.extend(s, job, number)
        case engine.Fail(reason):
            _fail(s, job.id, reason, ("running",))
        case engine.Finish(reason):
            steps.finish(s, job, reason)
        case engine.Wait():
            return False
        case _:
            assert_never(action)
    return True


def _release_expired(session: Session, s: Store, job: Job) -> int:
    """Takes lost leases away and announces waiting work again; returns how many hints to send."""
    now, hints = time.time(), 0
    for seat in rounds.expired(session, job.id, now):
        silent = now - (seat.heartbeat_at or now)
        reason = f"{seat.worker} was silent for {silent:.0f} s"
        release(session, seat, reason, rules.attempts(job.spec, s.settings))
        figures.add(session, figures.LEASES_EXPIRED, 1)
        hints += 1
    for seat in rounds.unheard(session, job.id, now - s.settings.rehint_s):
        seat.hinted_at = now
        hints += 1
    return hints


def _fail(s: Store, job_id: str, reason: str, old: tuple[str, ...] = jobs.OPEN_STATES) -> None:
    now, reason = time.time(), redact(reason)
    with writing(s.engine) as session:
        ended = {"reason": reason, "finished_at": now, "paused_by": None}
        if jobs.move(session, job_id, old, "failed", **ended):
            rounds.cancel_seats(session, job_id)
            jobs.add_event(session, job_id, now, "failed", f"Job failed: {reason}")
    s.forget(job_id)


def _note_outage(s: Store, job_id: str, error: OSError) -> None:
    """Disk, blobs or network are away: not the job's fault, so it waits, and says once for what."""
    text = f"The job cannot go on for now: {error}"
    with writing(s.engine) as session:
        last = jobs.last_event(session, job_id)
        if last is None or last.text != text:
            jobs.add_event(session, job_id, time.time(), "outage", text)


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
