"""Jobs: submit, read, cancel."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api import queue
from api.blobs import Blobs
from api.db import audit, jobs, removal, rounds, seats, series
from api.db.session import reading, writing
from api.db.tables import Job, Round
from api.errors import ApiError, not_found
from api.schemas import EventOut, JobOut, JobPage, JobSort, RoundClientOut, RoundOut
from api.services import estimates, eta, job_rows, projects, round_seats, views, waiting
from api.services.callers import Caller, visible_job
from api.services.projects import Place
from api.settings import settings
from fedkrso_core.budget import is_limited
from fedkrso_core.rounds_spec import of_stored
from fedkrso_core.spec import JobSpec

if TYPE_CHECKING:
    from fedkrso_core.check import Checked


async def submit(
    engine: Engine, blobs: Blobs, spec: JobSpec, place: Place, cloned_from: str | None = None
) -> JobOut:
    """Stores a job that was checked against its model, data and budget; SpecError if it cannot run.

    Only a job with a budget is estimated, and waits for its turn. ApiError 409 if its project has
    no room for one more open job.
    """
    aside = estimates.alone if is_limited(spec.budget) else run_in_threadpool
    own = frozenset({place.project})
    await run_in_threadpool(job_rows.prepare, engine, blobs, spec.data, own)
    checked = await aside(lambda: _checked(spec))
    return await run_in_threadpool(_store, engine, checked, place, cloned_from)


def _checked(spec: JobSpec) -> Checked:
    from fedkrso_core.check import check  # loads torch, which the API does not do at start

    return check(spec)


def _store(
    engine: Engine, checked: Checked, place: Place, cloned_from: str | None = None
) -> JobOut:
    spec = checked.spec
    job = Job(
        id=secrets.token_hex(6),
        project=place.project,
        created_by=place.created_by,
        name=spec.name,
        state="queued",
        spec=spec.model_dump(mode="json"),
        rounds=spec.rounds.count,
        rounds_closed=0,
        data_sha256=checked.data_sha256,
        created_at=time.time(),
        priority=spec.priority,
        forecast_up=list(checked.bytes_up) or None,
        labels=checked.labels,
    )
    with writing(engine) as session:
        projects.require_room(session, place.project, place.max_open_jobs)
        job_rows.require(session, spec.data, place.project)
        audit.about(target=job.id, project=place.project)
        session.add(job)
        session.flush()
        jobs.add_clients(session, job.id, checked.num_examples)
        text = f"Job {spec.name!r} submitted" + (
            f", a clone of {cloned_from}" if cloned_from else ""
        )
        jobs.add_event(session, job.id, job.created_at, "submitted", text)
    made = get(engine, job.id)
    queue.hint_advance(job.id)
    return made


@dataclass(frozen=True)
class Wanted:
    """Which jobs a list shows, and with how many points of their curves."""

    state: str | None = None
    search: str = ""
    sort: JobSort = "newest"
    after: str | None = None
    limit: int = 50
    curve: int = 0


def page(engine: Engine, caller: Caller, wanted: Wanted, project: str | None = None) -> JobPage:
    """Jobs that the caller sees; ApiError 404 for the project of others."""
    seen, limit = projects.narrowed(caller, project), wanted.limit
    with reading(engine) as session:
        cursor = None if wanted.after is None else visible_job(session, caller, wanted.after)
        which = (wanted.state, wanted.search, wanted.sort, seen)
        found = jobs.page(session, cursor, limit + 1, *which)
        shown = found[:limit]
        items = _described(session, shown, wanted.curve)
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


def _described(session: Session, found: Sequence[Job], curve: int = 0) -> list[JobOut]:
    ids, now = [job.id for job in found], time.time()
    traffic, closed = jobs.traffic(session, ids), series.last_closed(session, ids)
    # of a curve without points only the last one is wanted, for the metrics
    measured = series.measured(session, ids, max(1, curve))
    outs = []
    for job in found:
        waits = waiting.waits_of(session, settings(), job, now)
        own = measured.get(job.id, [])
        out = views.job_out(job, traffic.get(job.id, (0, 0, 0)), own, bool(curve))
        out.waiting, out.waiting_for = waits, waiting.sentence(waits)
        out.eta = views.moment(eta.expected(job, closed.get(job.id), now))
        outs.append(out)
    return outs


def cancel(engine: Engine, job_id: str) -> JobOut:
    """Stops a job; ApiError 409 if it has ended."""
    now = time.time()
    with writing(engine) as session:
        job = _require(session, job_id)
        ended = {"finished_at": now, "reason": None, "paused_by": None}
        if not jobs.move(session, job_id, jobs.OPEN_STATES, "cancelled", **ended):
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
    queue.hint_forget()


def gone(engine: Engine, job_ids: Sequence[str]) -> list[str]:
    """Those of the jobs that are not there any more, in the order given."""
    with reading(engine) as session:
        known = set(session.scalars(select(Job.id).where(Job.id.in_(job_ids))))
    return [job_id for job_id in job_ids if job_id not in known]


def rounds_of(engine: Engine, job_id: str, last: int | None = None) -> list[RoundOut]:
    """The rounds that were opened so far (of them the `last` newest), in order."""
    with reading(engine) as session:
        job, rows = _require(session, job_id), rounds.newest(session, job_id, last)
        late = of_stored(job.spec["rounds"]).buffered
        first = min((row.number for row in rows), default=1)
        of = round_seats.by_round(seats.seats_from(session, job_id, first), rows, late)
        return [views.round_out(job, row, of[row.number]) for row in rows]


def round_clients(engine: Engine, job_id: str, number: int) -> list[RoundClientOut]:
    """What each client of a round is doing."""
    with reading(engine) as session:
        job = _require(session, job_id)
        row = session.get(Round, (job_id, number))
        if number < 1 or row is None:
            raise not_found(f"round of job {job_id}", number)
        return [
            views.client_out(seat, job)
            for seat in seats.seats_about(session, job_id, number)
            if round_seats.concerns(seat, row)
        ]


def events(
    engine: Engine, job_id: str, after: int, limit: int = 500
) -> tuple[list[EventOut], bool]:
    """Events after an id, and whether the job has ended and there will be no more."""
    with reading(engine) as session:
        job = _require(session, job_id)
        found = jobs.events(session, job_id, after, limit)
        ended = job.state not in jobs.OPEN_STATES and len(found) < limit
        return [views.event_out(event) for event in found], ended


def newest_events(engine: Engine, job_id: str, limit: int) -> list[EventOut]:
    """The last events of a job, oldest first."""
    with reading(engine) as session:
        _require(session, job_id)
        return [views.event_out(event) for event in jobs.newest_events(session, job_id, limit)]
