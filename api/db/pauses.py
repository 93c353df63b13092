"""Queries that take the work of a job away and give it back: pause, go on, open a round again."""

from __future__ import annotations

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from api.db import buffered
from api.db.tables import Assignment, Job, Round


def take_leases_back(session: Session, job_id: str, now: float, why: str) -> None:
    """Leased assignments wait for a worker again; the lease does not count as an attempt."""
    # rounds before assignments, as in an aggregation: the other order would be a deadlock
    opened = (Round.job_id == job_id, Round.state.in_(("collecting", "aggregating")))
    session.execute(select(Round.number).where(*opened).with_for_update())
    # pending ones too: one of them may be about to become leased, and is then waited for
    query = update(Assignment).where(
        Assignment.job_id == job_id, Assignment.state.in_(("pending", "leased"))
    )
    was_leased = Assignment.state == "leased"
    session.execute(
        query.values(
            attempt=Assignment.attempt - case((was_leased, 1), else_=0),
            error=case((was_leased, why), else_=Assignment.error),
            pending_at=case((was_leased, now), else_=Assignment.pending_at),
            state="pending",
            lease_hash=None,
            lease_until=None,
            hinted_at=now,
        )
    )


def start_clock(session: Session, job: Job, now: float) -> None:
    """Ends a stretch in which a job's clock stood still: what was due is due that much later.

    The job's row is locked.
    """
    if job.stopped_at is None:
        return
    stood_s = max(0.0, now - job.stopped_at) if job.started_at is not None else 0.0
    session.execute(
        update(Round)
        .where(Round.job_id == job.id, Round.state.in_(("collecting", "aggregating")))
        .values(deadline=Round.deadline + stood_s, stopped_s=Round.stopped_s + stood_s)
    )
    waits = (Assignment.job_id == job.id, Assignment.state == "pending")
    session.execute(update(Assignment).where(*waits).values(hinted_at=0.0))  # announced at once
    job.stopped_at, job.stopped_s = None, job.stopped_s + stood_s


def reopen_round(session: Session, job: Job, now: float, deadline: float) -> tuple[int, int, int]:
    """Opens the failed round of a job again: (number, updates kept, clients that start anew).

    Accepted updates are kept, everybody else gets fresh attempts. Number 0: no round had failed.
    """
    row = session.scalar(
        select(Round).where(Round.job_id == job.id, Round.state == "failed").with_for_update()
    )
    if row is None:
        return 0, 0, 0
    row.state, row.extended, row.deadline = "collecting", False, deadline
    row.aggregator = row.aggregator_until = row.aggregating_at = None
    again = buffered.stopped_in(session, job, row.number)
    fresh = {"state": "pending", "attempt": 0, "error": None, "pending_at": now, "hinted_at": now}
    query = update(Assignment).where(Assignment.id.in_(again))
    session.execute(query.values(**fresh, lease_hash=None, lease_until=None, step=0))
    return row.number, len(buffered.counted(session, job.id, row.number)), len(again)


def paused_for_room(session: Session) -> list[tuple[str, int]]:
    """Jobs that wait for room on the disk, and the bytes that there was no room for."""
    query = select(Job.id, Job.room_bytes).where(Job.state == "paused", Job.paused_by == "room")
    return [(job_id, size or 0) for job_id, size in session.execute(query)]
