"""Queries that take things away for good: whole jobs, uploads and exports past their time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from api.db import figures
from api.db.jobs import ENDED_STATES
from api.db.tables import Assignment, Audit, Export, Job, Round, Table


def delete_job(session: Session, job_id: str) -> None:
    """Removes a job and every row that refers to it; what it adds to the figures is kept."""
    figures.keep(session, job_id)
    for table in reversed(Table.metadata.sorted_tables):
        for key in table.foreign_keys:
            if key.column is Job.__table__.c.id and table is not Job.__table__:
                session.execute(delete(table).where(key.parent == job_id))
    session.execute(delete(Job).where(Job.id == job_id))


def ended_before(session: Session, moment: float, limit: int) -> Sequence[str]:
    """Jobs that ended before a time, the longest ago first."""
    query = select(Job.id).where(Job.state.in_(ENDED_STATES), Job.finished_at < moment)
    return session.scalars(query.order_by(Job.finished_at).limit(limit)).all()


def forget_updates(session: Session, before: float) -> int:
    """Lets go of the uploads of jobs that ended before a time; returns of how many.

    The journal of states stays. So do the uploads of a round that was not closed: a job that is
    taken up again needs them.
    """
    aggregated = exists().where(
        Round.job_id == Assignment.job_id,
        Round.number == func.coalesce(Assignment.counted_in, Assignment.number),
        Round.state == "closed",
    )
    over = exists().where(
        Job.id == Assignment.job_id,
        Job.finished_at < before,
        Job.state.in_(ENDED_STATES),
        aggregated,
    )
    query = update(Assignment).where(Assignment.digest.is_not(None), over).values(digest=None)
    done = session.execute(query.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_checkpoints(session: Session) -> int:
    """Lets go of checkpoints that no open work is offered any more; returns how many."""
    wanted = exists().where(
        Assignment.job_id == Round.job_id,
        Assignment.checkpoint_round == Round.number,
        Assignment.state.in_(("pending", "leased")),
    )
    query = update(Round).where(Round.checkpoint_digest.is_not(None), ~wanted)
    query = query.values(checkpoint_digest=None, checkpoint_size=None)
    done = session.execute(query.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_references(session: Session) -> int:
    """Lets go of what updates of closed rounds were measured from; returns how many.

    Of buffered rounds updates may still come after they closed.
    """
    wanted = exists().where(
        Assignment.job_id == Round.job_id,
        Assignment.number == Round.number,
        Assignment.state.in_(("pending", "leased")),
    )
    query = update(Round).where(Round.reference_digest.is_not(None), Round.state == "closed")
    query = query.where(~wanted).values(reference_digest=None)
    done = session.execute(query.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_audit(session: Session, before: float) -> int:
    """Removes lines of the audit log that are older than a time; returns how many."""
    query = delete(Audit).where(Audit.at < before)
    done = session.execute(query.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_exports(session: Session, before: float) -> int:
    """Lets go of model folders that were asked for last before a time; returns how many."""
    query = delete(Export).where(Export.state == "ready", Export.requested_at < before)
    done = session.execute(query.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]
