"""Jobs: submit, read, cancel."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.db import jobs, removal, rounds
from api.db.session import reading, writing
from api.db.tables import Assignment, Job, Round
from api.errors import ApiError, not_found
from api.schemas import EventOut, JobOut, JobPage, RoundClientOut, RoundOut
from api.services import estimates, views
from fedkrso_core.budget import is_limited
from fedkrso_core.spec import JobSpec

if TYPE_CHECKING:
    from fedkrso_core.check import Checked


async def submit(engine: Engine, spec: JobSpec) -> JobOut:
    """Stores a job that was checked against its model, data and budget; SpecError if it cannot run.

    Only a job with a budget is estimated, and waits for its turn.
    """
    aside = estimates.alone if is_limited(spec.budget) else run_in_threadpool
    checked = await aside(lambda: _checked(spec))
    return await run_in_threadpool(_store, engine, checked)


def _checked(spec: JobSpec) -> Checked:
    from fedkrso_core.check import check  # loads torch, which the API does not do at start

    return check(spec)


def _store(engine: Engine, checked: Checked) -> JobOut:
    spec = checked.spec
    job = Job(
        id=secrets.token_hex(6),
        name=spec.name,
        state="queued",
        spec=spec.model_dump(mode="json"),
        rounds=spec.rounds,
        rounds_closed=0,
        data_sha256=checked.data_sha256,
        created_at=time.time(),
        forecast_up=list(checked.bytes_up) or None,
    )
    with writing(engine) as session:
        session.add(job)
        session.flush()
        jobs.add_clients(session, job.id, checked.num_examples)
        jobs.add_event(session, job.id, job.created_at, "submitted", f"Job {spec.name!r} submitted")
    queue.hint_advance(job.id)
    return views.job_out(job, (0, 0, 0), {}, views.waiting_for(job, None, (), job.created_at))


def page(engine: Engine, state: str | None, after: str | None, limit: int) -> JobPage:
    """Jobs, newest first."""
    with reading(engine) as session:
        cursor = None if after is None else _require(session, after)
        found = jobs.page(session, state, cursor, limit + 1)
        shown = found[:limit]
        items = _described(session, shown)
    return JobPage(items=items, next=shown[-1].id if len(found) > limit else None)


def get(engine: Engine, job_id: str) -> JobOut:
    """One job, with what it waits for."""
    with reading(engine) as session:
        return _described(session, [_require(session, job_id)])[0]


def _require(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise not_found("job", job_id)
    return job


def _described(session: Session, found: Sequence[Job]) -> list[JobOut]:
    traffic = jobs.traffic(session, [job.id for job in found])
    return [
        views.job_out(
            job, traffic.get(job.id, (0, 0, 0)), _last_metrics(session, job), _waits(session, job)
        )
        for job in found
    ]


def _last_metrics(session: Session, job: Job) -> dict[str, float]:
    closed = [r for r in rounds.all_of(session, job.id) if r.state == "closed" and r.metrics]
    return closed[-1].metrics if closed else {}


def _waits(session: Session, job: Job) -> str | None:
    if job.state not in jobs.OPEN_STATES:
        return None
    row = rounds.open_round(session, job.id)
    seats = rounds.seats(session, job.id, row.number) if row is not None else ()
    return views.waiting_for(job, row, seats, time.time())


def cancel(engine: Engine, job_id: str) -> JobOut:
    """Stops a job; ApiError 409 if it has ended."""
    now = time.time()
    with writing(engine) as session:
        job = _require(session, job_id)
        if not jobs.move(session, job_id, jobs.OPEN_STATES, "cancelled", finished_at=now):
            raise ApiError(409, "conflict", f"job {job_id} is {job.state}: it cannot be cancelled")
        rounds.cancel_seats(session, job_id)
        jobs.add_event(session, job_id, now, "cancelled", "Job cancelled")
    return get(engine, job_id)


def delete(engine: Engine, job_id: str) -> None:
    """Removes an ended job with all its rows; ApiError 409 if it has not ended.

    Its blobs follow when they are collected, but for those that other jobs have too.
    """
    with writing(engine) as session:
        job = session.get(Job, job_id, with_for_update=True)
        if job is None:
            raise not_found("job", job_id)
        if job.state not in jobs.ENDED_STATES:
            raise ApiError(409, "conflict", f"job {job_id} is {job.state}: cancel it first")
        removal.delete_job(session, job_id)
    queue.hint_advance(job_id)  # a coordinator forgets what it keeps of it


def rounds_of(engine: Engine, job_id: str) -> list[RoundOut]:
    """The rounds that were opened so far, in order."""
    with reading(engine) as session:
        _require(session, job_id)
        seats: dict[int, list[Assignment]] = {}
        for seat in rounds.seats(session, job_id):
            seats.setdefault(seat.number, []).append(seat)
        return [
            views.round_out(row, seats.get(row.number, []))
            for row in rounds.all_of(session, job_id)
            if row.number > 0
        ]


def round_clients(engine: Engine, job_id: str, number: int) -> list[RoundClientOut]:
    """What each client of a round is doing."""
    with reading(engine) as session:
        job = _require(session, job_id)
        if number < 1 or session.get(Round, (job_id, number)) is None:
            raise not_found(f"round of job {job_id}", number)
        steps = job.spec["local"]["steps"]
        return [views.client_out(seat, steps) for seat in rounds.seats(session, job_id, number)]


def events(
    engine: Engine, job_id: str, after: int, limit: int = 500
) -> tuple[list[EventOut], bool]:
    """Events after an id, and whether the job has ended and there will be no more."""
    with reading(engine) as session:
        job = _require(session, job_id)
        found = jobs.events(session, job_id, after, limit)
        ended = job.state not in jobs.OPEN_STATES and len(found) < limit
        return [views.event_out(event) for event in found], ended
