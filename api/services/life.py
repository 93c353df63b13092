"""The life of a job: pause, go on, retry, clone, and its place among the other jobs."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.blobs import Blobs
from api.db import jobs, pauses, slots
from api.db.session import reading, writing
from api.db.tables import Job
from api.errors import ApiError
from api.schemas import JobOut
from api.services import job_rows, rules
from api.services.callers import Caller
from api.services.jobs import _require, get, submit
from api.services.projects import Place, require_room
from api.settings import Settings
from fedkrso_core.clone import changed
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.spec import parse


def pause(engine: Engine, job_id: str) -> JobOut:
    """Takes the work of a job back until somebody resumes it; its clock stands still.

    Accepted updates are kept, and lost leases cost no attempt. ApiError 409 if the job has ended
    or was paused before. A job that waits for room on the disk no longer goes on by itself then.
    """
    now = time.time()
    with writing(engine) as session:
        job = _locked(session, job_id)
        if job.paused_by == "user" or job.state not in jobs.OPEN_STATES:
            raise _conflict(job, "paused")
        job.state, job.paused_by = "paused", "user"
        job.reason = job.room_bytes = None
        job.stopped_at = now if job.stopped_at is None else job.stopped_at
        pauses.take_leases_back(session, job_id, now, "the job was paused")
        jobs.add_event(session, job_id, now, "paused", "Job paused by a user", by="user")
    return get(engine, job_id)


def _locked(session: Session, job_id: str) -> Job:
    """The job as it is now, locked; whoever notes an event of it need not wait."""
    job = _require(session, job_id)
    session.refresh(job, with_for_update={"key_share": True})
    return job


def resume(engine: Engine, settings: Settings, job_id: str) -> JobOut:
    """Lets a paused job go on, as soon as its turn comes; ApiError 409 if it is not paused."""
    with writing(engine) as session:
        slots.hold(session)
        job = _locked(session, job_id)
        if job.state != "paused":
            raise _conflict(job, "resumed", "only a paused job can be")
        go_on(session, settings, job, "Job resumed by a user")
    queue.hint_advance(job_id)
    return get(engine, job_id)


def go_on(session: Session, settings: Settings, job: Job, text: str) -> None:
    """paused -> queued, and on to running if it is its turn; `slots.hold` comes first."""
    now = time.time()
    job.state = "queued"
    job.paused_by = job.reason = job.room_bytes = None
    start_again(session, settings, job, now)
    jobs.add_event(session, job.id, now, "resumed", text)


def start_again(session: Session, settings: Settings, job: Job, now: float) -> bool:
    """queued -> running of a job that ran before, if it is its turn; `slots.hold` comes first."""
    if job.started_at is None or job.id not in slots.next_in_line(session, settings.max_running):
        return False
    job.state = "running"
    pauses.start_clock(session, job, now)
    return True


def retry(engine: Engine, settings: Settings, job_id: str) -> JobOut:
    """Lets a failed job go on from its last closed round; ApiError 409 if it has not failed.

    SpecError if rows that it names were uploaded and are deleted.

    Updates that were accepted in the failed round are kept; its other clients get fresh attempts,
    and the round a fresh deadline.
    """
    now = time.time()
    with writing(engine) as session:
        slots.hold(session)
        job = _locked(session, job_id)
        if job.state != "failed":
            raise _conflict(job, "retried", "only a failed job can be")
        require_room(session, job.project, settings.max_open_jobs)
        job_rows.require(session, DataSpec.model_validate(job.spec["data"]), job.project)
        # what it stood still counts from when it was paused, if it failed in that
        job.stopped_at = job.stopped_at or job.finished_at or now
        job.state, job.errors = "queued", 0
        job.reason = job.finished_at = job.paused_by = job.room_bytes = None
        deadline = job.stopped_at + rules.timeout_s(job.spec, settings)
        number, kept, fresh = pauses.reopen_round(session, job, now, deadline)
        start_again(session, settings, job, now)
        text = _retried_text(job, number, kept, fresh)
        jobs.add_event(session, job_id, now, "retried", text, round=number or None)
    queue.hint_advance(job_id)
    return get(engine, job_id)


def _retried_text(job: Job, number: int, kept: int, fresh: int) -> str:
    if number == 0:
        return f"Job retried after round {job.rounds_closed}"
    return f"Job retried: round {number} is open again, {kept} updates kept, {fresh} clients to go"


async def clone(
    engine: Engine,
    blobs: Blobs,
    settings: Settings,
    caller: Caller,
    job_id: str,
    changes: dict[str, Any],
) -> JobOut:
    """Submits a job's file anew, with some fields changed; SpecError if it cannot run so."""
    with reading(engine) as session:
        job = _require(session, job_id)
        place = Place(job.project, caller.user, settings.max_open_jobs)
    spec = parse(changed(job.spec, changes))
    return await submit(engine, blobs, spec, place, cloned_from=job_id)


def prioritize(engine: Engine, job_id: str, priority: int) -> JobOut:
    """Changes the priority of a job; ApiError 409 if it has ended."""
    now = time.time()
    with writing(engine) as session:
        job = _locked(session, job_id)
        if job.state not in jobs.OPEN_STATES:
            raise _conflict(job, "given another priority")
        text = f"Priority changed from {job.priority} to {priority}"
        job.priority = priority
        jobs.add_event(session, job_id, now, "prioritized", text, priority=priority)
    queue.hint_advance(job_id)
    return get(engine, job_id)


def _conflict(job: Job, what: str, rule: str | None = None) -> ApiError:
    detail = f"job {job.id} is {job.state}: it cannot be {what}"
    return ApiError(409, "conflict", f"{detail}; {rule}" if rule else detail)
