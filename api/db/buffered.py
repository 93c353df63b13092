"""Queries of buffered rounds: in which round an update is counted, and who is still at work.

Locks are taken in the order job, round, assignment, as everywhere: any other order could deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from api.db import rounds
from api.db.seats import at_work
from api.db.tables import Assignment, Job, Round
from fedkrso_core.rounds_spec import RoundsSpec, of_stored


@dataclass(frozen=True)
class Place:
    """Where an update that is accepted now is counted; `last` is the job's last round."""

    number: int
    last: int
    rounds: RoundsSpec


def place_of(session: Session, assignment_id: str) -> Place | None:
    """Locks the job and its open round and says where an update of this assignment is counted.

    None for a job whose rounds are not buffered, of which nothing is locked. The round that is
    collecting takes the update, one whose aggregation has begun leaves it to the next. Both locks
    are shared: updates do not wait for each other, but whoever closes a round waits for them, and
    they for it.
    """
    found = session.execute(
        select(Job.id, Job.spec)
        .join(Assignment, Assignment.job_id == Job.id)
        .where(Assignment.id == assignment_id)
    ).one()
    spec = of_stored(found.spec["rounds"])
    if not spec.buffered:
        return None
    closed, last = session.execute(
        select(Job.rounds_closed, Job.rounds).where(Job.id == found.id).with_for_update(read=True)
    ).one()
    state = session.scalar(
        select(Round.state)
        .where(Round.job_id == found.id, Round.number == closed + 1)
        .with_for_update(read=True)
    )
    return Place(closed + (2 if state == "aggregating" else 1), last, spec)


def of_open_round(session: Session, job_id: str, number: int) -> Sequence[Assignment]:
    """What is counted in the open round, and all clients at work, whatever they began with."""
    return _seats(session, job_id, or_(Assignment.counted_in == number, at_work()))


def seats_of_open(session: Session, job: Job, number: int) -> Sequence[Assignment]:
    """The assignments that the open round of a job waits for or has heard of, however it closes."""
    if of_stored(job.spec["rounds"]).buffered:
        return of_open_round(session, job.id, number)
    return rounds.seats(session, job.id, number)


def counted(session: Session, job_id: str, number: int) -> Sequence[Assignment]:
    """The assignments whose updates are counted in a round, in order of clients."""
    return _seats(session, job_id, Assignment.counted_in == number, Assignment.state == "done")


def stopped_in(session: Session, job: Job, number: int) -> list[str]:
    """The assignments that a failed round was waiting for when its job ended.

    In a job whose rounds are buffered they may have begun with an earlier round; of each client
    it is the last.
    """
    spec = of_stored(job.spec["rounds"])
    oldest = number - (number if spec.max_staleness is None else spec.max_staleness)
    seats = _seats(session, job.id, Assignment.number >= (oldest if spec.buffered else number))
    last = {seat.client: seat for seat in seats}.values()
    return [seat.id for seat in last if seat.state in ("failed", "cancelled")]


def waiting(session: Session, job_id: str) -> Sequence[Assignment]:
    """Assignments that nobody works on, locked; those that are being claimed are left out."""
    query = select(Assignment).where(Assignment.job_id == job_id, Assignment.state == "pending")
    ordered = query.order_by(Assignment.client).with_for_update(skip_locked=True)
    return session.scalars(ordered).all()


def cancel_older(session: Session, job_id: str, number: int, reason: str) -> Sequence[int]:
    """Takes their work from clients that began before a round; returns them."""
    where = (Assignment.job_id == job_id, Assignment.number < number, at_work())
    found = session.scalars(select(Assignment.client).where(*where)).all()
    if found:
        session.execute(update(Assignment).where(*where).values(state="cancelled", error=reason))
    return sorted(found)


def cancel_uncounted(session: Session, job_id: str, last: int) -> None:
    """Ends what a job that is done after a round will not count: work, and updates for later."""
    late = (Assignment.state == "done") & (Assignment.counted_in > last)
    query = update(Assignment).where(Assignment.job_id == job_id, or_(at_work(), late))
    reason = "the job ended before it was counted"
    session.execute(query.values(state="cancelled", error=reason, counted_in=None))


def _seats(session: Session, job_id: str, *where: ColumnElement[bool]) -> Sequence[Assignment]:
    query = select(Assignment).where(Assignment.job_id == job_id, *where)
    return session.scalars(query.order_by(Assignment.client, Assignment.number)).all()
