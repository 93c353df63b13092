"""Queries about jobs, their clients, events and exports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, true, tuple_, update
from sqlalchemy.orm import Session

from api.db.tables import Assignment, Client, Event, Export, Job
from telemetry.redact import redact

_log = logging.getLogger("api.events")

# not ended, those of them in which something goes on, and ended
OPEN_STATES = ("queued", "running", "paused")
ACTIVE_STATES = ("queued", "running")
ENDED_STATES = ("done", "failed", "cancelled")

_EVENTS = 1  # the class of advisory locks about events; that of `slots` is another


def page(
    session: Session,
    after: Job | None,
    limit: int,
    state: str | None = None,
    search: str = "",
    sort: str = "newest",
    projects: frozenset[str] | None = None,
) -> Sequence[Job]:
    """Jobs of some projects (None: of all) in the order of `sort`, those that follow `after`."""
    query = _sorted(sort, after).limit(limit)
    if projects is not None:
        query = query.where(Job.project.in_(projects))
    if state is not None:
        query = query.where(Job.state == state)
    if search:
        query = query.where(_contains(search))
    return session.scalars(query).all()


def _sorted(sort: str, after: Job | None) -> Select[Job]:
    name = func.lower(Job.name)
    key: Any = tuple_(name if sort == "name" else Job.created_at, Job.id)
    if after is None:
        start: Any = true()
    else:
        # the database lowers the name: Python's lower() may be another
        of_after = func.lower(after.name) if sort == "name" else after.created_at
        last = tuple_(of_after, after.id)
        start = key < last if sort == "newest" else key > last
    orders = {
        "newest": (Job.created_at.desc(), Job.id.desc()),
        "oldest": (Job.created_at, Job.id),
        "name": (name, Job.id),
    }
    return select(Job).where(start).order_by(*orders[sort])


def _contains(text: str) -> ColumnElement[bool]:
    """Jobs with the text in their name, id, submitter or method, in upper or lower case."""
    method = Job.spec["method"]["name"].as_string()
    fields = (Job.name, Job.id, Job.created_by, method)
    return or_(*(field.icontains(text, autoescape=True) for field in fields))


def running_ids(session: Session) -> Sequence[str]:
    """Jobs that are running, oldest first."""
    query = select(Job.id).where(Job.state == "running").order_by(Job.created_at)
    return session.scalars(query).all()


def move(session: Session, job_id: str, old: tuple[str, ...], new: str, **values: Any) -> bool:
    """Compare-and-swap of a job's state; False if it was not in one of the old states."""
    query = update(Job).where(Job.id == job_id, Job.state.in_(old)).values(state=new, **values)
    return _changed(session, query)


def _changed(session: Session, query: Any) -> bool:
    return bool(session.execute(query).rowcount)  # type: ignore[attr-defined]


def traffic(session: Session, job_ids: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """(bytes up, bytes down, highest peak memory) of each job."""
    query = (
        select(
            Assignment.job_id,
            func.sum(Assignment.bytes_up),
            func.sum(Assignment.bytes_down),
            func.max(Assignment.peak_memory_bytes),
        )
        .where(Assignment.job_id.in_(job_ids))
        .group_by(Assignment.job_id)
    )
    return {
        job: (int(up), int(down), int(peak or 0)) for job, up, down, peak in session.execute(query)
    }


def spent(session: Session, job_id: str) -> tuple[int, int, int, int]:
    """(bytes up, those of them that came to nothing, updates, highest peak memory) of a job."""
    lost = Assignment.bytes_up_lost
    query = select(
        func.sum(Assignment.bytes_up + lost),
        func.sum(lost),
        func.count(Assignment.digest),
        func.max(Assignment.peak_memory_bytes),
    ).where(Assignment.job_id == job_id)
    up, up_lost, updates, peak = session.execute(query).one()
    return int(up or 0), int(up_lost or 0), updates, int(peak or 0)


def forecast_up(session: Session, job_id: str) -> Sequence[int]:
    """The forecast upload of each round of a job; empty where nothing limits it."""
    return session.scalar(select(Job.forecast_up).where(Job.id == job_id)) or ()


def add_clients(session: Session, job_id: str, num_examples: Sequence[int]) -> None:
    """A row for each client of a new job."""
    session.add_all(
        Client(job_id=job_id, client=i, num_examples=n) for i, n in enumerate(num_examples)
    )


def clients_of(session: Session, job_id: str, clients: Sequence[int]) -> list[Client]:
    """Some clients of a job, ascending."""
    query = select(Client).where(Client.job_id == job_id, Client.client.in_(clients))
    return list(session.scalars(query.order_by(Client.client)))


def add_event(session: Session, job_id: str, at: float, kind: str, text: str, **data: Any) -> None:
    """Notes what happened, in its transaction (best at the end of it) and in the log.

    On PostgreSQL the transactions that note events of a job go on one after the other from here.
    Else a larger id could be seen before a smaller one, and who reads on from it would miss that.
    SQLite has one writer at a time anyway.
    """
    text = redact(text)
    _log.info(text, extra={"kind": kind, "job": job_id, **({"data": data} if data else {})})
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_EVENTS, func.hashtext(job_id))))
    session.add(Event(job_id=job_id, at=at, kind=kind, text=text, data=data))


def events(session: Session, job_id: str, after: int, limit: int) -> Sequence[Event]:
    """A job's events after an id, oldest first."""
    query = select(Event).where(Event.job_id == job_id, Event.id > after)
    return session.scalars(query.order_by(Event.id).limit(limit)).all()


def newest_events(session: Session, job_id: str, limit: int) -> Sequence[Event]:
    """A job's last events, oldest first."""
    query = select(Event).where(Event.job_id == job_id).order_by(Event.id.desc()).limit(limit)
    return session.scalars(query).all()[::-1]


def last_event(session: Session, job_id: str) -> Event | None:
    """A job's newest event."""
    query = select(Event).where(Event.job_id == job_id).order_by(Event.id.desc()).limit(1)
    return session.scalar(query)


def pending_exports(session: Session) -> Sequence[Export]:
    """Model folders that were asked for and are not there yet."""
    return session.scalars(select(Export).where(Export.state == "building")).all()


def ask_export(session: Session, job_id: str, number: int, now: float) -> None:
    """Has the model folder of a round built; anew if it is there, for it may say more now."""
    row = session.get(Export, (job_id, number))
    if row is None:
        row = Export(job_id=job_id, number=number)
        session.add(row)
    row.state, row.requested_at = "building", now
