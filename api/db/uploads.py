"""Queries about uploaded rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from api.db.jobs import OPEN_STATES
from api.db.tables import Job, Upload


def of_projects(session: Session, projects: frozenset[str] | None) -> Sequence[Upload]:
    """The uploads of some projects (None: of all), newest first."""
    query = select(Upload).order_by(Upload.created_at.desc(), Upload.source)
    if projects is not None:
        query = query.where(Upload.project.in_(projects))
    return session.scalars(query).all()


def known(
    session: Session, sources: Iterable[str], projects: frozenset[str] | None, hold: bool = False
) -> set[str]:
    """Those of the sources that some projects (None: any) have.

    With `hold` nobody deletes them before the transaction ends.
    """
    query = select(Upload).where(Upload.source.in_(list(sources)))
    if projects is not None:
        query = query.where(Upload.project.in_(projects))
    if hold:
        query = query.with_for_update(read=True)
    return {row.source for row in session.scalars(query)}


def locked(session: Session, source: str, project: str) -> Upload | None:
    """An upload; no job that names it is added before the transaction ends."""
    return session.get(Upload, (source, project), with_for_update=True)


def open_jobs(session: Session, source: str, project: str) -> Sequence[str]:
    """Jobs of a project that have not ended and name the source."""
    data = Job.spec["data"]
    named = [data[field].as_string() == source for field in ("train", "validation")]
    query = select(Job.id).where(Job.project == project, Job.state.in_(OPEN_STATES), or_(*named))
    return session.scalars(query.order_by(Job.created_at)).all()


def count(session: Session, project: str) -> int:
    """How many uploads a project has."""
    return session.scalar(select(func.count()).where(Upload.project == project)) or 0


def sources(session: Session) -> Sequence[str]:
    """The sources of all uploads."""
    return session.scalars(select(Upload.source).distinct()).all()
