"""Which queued job runs next: at most so many at once, by priority, then age."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from api.db.tables import Job

_SLOTS = (2, 0)  # an advisory lock


def hold(session: Session) -> None:
    """Makes everybody else who wants to start a job wait until this transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(*_SLOTS)))


def running(session: Session) -> int:
    """How many jobs run."""
    return session.scalar(select(func.count()).where(Job.state == "running")) or 0


def next_in_line(session: Session, limit: int) -> Sequence[str]:
    """The queued jobs that may start now, in order; `limit` is how many jobs may run."""
    query = select(Job.id).where(Job.state == "queued").order_by(*_ORDER)
    return session.scalars(query.limit(max(0, limit - running(session)))).all()


def ahead_of(session: Session, job: Job) -> int:
    """How many queued jobs come before a queued job."""
    same = and_(Job.priority == job.priority, Job.created_at == job.created_at, Job.id < job.id)
    older = and_(Job.priority == job.priority, Job.created_at < job.created_at)
    before = or_(Job.priority > job.priority, older, same)
    return session.scalar(select(func.count()).where(Job.state == "queued", before)) or 0


_ORDER = (Job.priority.desc(), Job.created_at, Job.id)
