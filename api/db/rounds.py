"""Queries about rounds and assignments: the state machine's compare-and-swaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from api.db.seats import at_work
from api.db.tables import Assignment, Client, Job, Round


def all_of(session: Session, job_id: str) -> Sequence[Round]:
    """A job's rounds in order, with number 0 for the initial state."""
    return session.scalars(select(Round).where(Round.job_id == job_id).order_by(Round.number)).all()


def newest(session: Session, job_id: str, last: int | None) -> Sequence[Round]:
    """The last rounds of a job (None: all of them) in order, without number 0."""
    query = select(Round).where(Round.job_id == job_id, Round.number > 0)
    return session.scalars(query.order_by(Round.number.desc()).limit(last)).all()[::-1]


def sizes(session: Session, job_id: str, numbers: range) -> dict[int, tuple[int, bool]]:
    """(bytes of the state, whether its checkpoint is kept) of some closed rounds."""
    kept = Round.checkpoint_digest.is_not(None)
    query = select(Round.number, Round.size, kept).where(
        Round.job_id == job_id, Round.number >= numbers.start, Round.number < numbers.stop
    )
    return {number: (size or 0, has) for number, size, has in session.execute(query)}


def quickest_s(session: Session, job_id: str) -> float:
    """Seconds that the quickest closed round took from its opening; 0 before the first."""
    query = select(func.min(Round.closed_at - Round.opened_at - Round.stopped_s))
    closed = (Round.job_id == job_id, Round.number > 0, Round.state == "closed")
    return float(session.scalar(query.where(*closed)) or 0.0)


def last_closed(session: Session, job_id: str) -> float | None:
    """When the last closed round of a job closed, round 0 included."""
    return session.scalar(select(func.max(Round.closed_at)).where(Round.job_id == job_id))


def open_round(session: Session, job_id: str) -> Round | None:
    """The round that is collecting or aggregating."""
    states = ("collecting", "aggregating")
    return session.scalar(select(Round).where(Round.job_id == job_id, Round.state.in_(states)))


def start_aggregating(session: Session, row: Round, fence: str, now: float, until: float) -> bool:
    """Takes a round for aggregation unless another coordinator holds it; True if taken."""
    free = or_(Round.state == "collecting", Round.aggregator_until < now, Round.aggregator == fence)
    query = update(Round).where(
        Round.job_id == row.job_id,
        Round.number == row.number,
        Round.state.in_(("collecting", "aggregating")),
        free,
    )
    taken = {"state": "aggregating", "aggregator": fence, "aggregator_until": until}
    return _changed(session, query.values(**taken, aggregating_at=now))


def give_up_late(session: Session, job_id: str, number: int) -> None:
    """Takes work back from clients that had not reported when the aggregation began.

    An update that comes too late for it is refused, not accepted and ignored. What they had
    downloaded came to nothing.
    """
    query = update(Assignment).where(
        Assignment.job_id == job_id,
        Assignment.number == number,
        Assignment.state.in_(("pending", "leased")),
    )
    lost = {"bytes_lost": Assignment.bytes_lost + Assignment.bytes_down, "bytes_down": 0}
    session.execute(query.values(state="cancelled", error="the round closed without it", **lost))


def start_measuring(session: Session, row: Round, fence: str, now: float, until: float) -> bool:
    """Takes a closed round to measure it unless another coordinator does; True if taken."""
    query = update(Round).where(
        Round.job_id == row.job_id,
        Round.number == row.number,
        Round.state == "closed",
        Round.measured_at.is_(None),
        or_(Round.aggregator.is_(None), Round.aggregator_until < now),
    )
    return _changed(session, query.values(aggregator=fence, aggregator_until=until))


def unmeasured(session: Session, job_id: str) -> Sequence[tuple[int, float | None]]:
    """(number, until when somebody measures it) of closed rounds without metrics, in order."""
    held_until = case((Round.aggregator.is_not(None), Round.aggregator_until), else_=None)
    query = select(Round.number, held_until).where(
        Round.job_id == job_id,
        Round.number > 0,
        Round.state == "closed",
        Round.measured_at.is_(None),
    )
    return [(number, until) for number, until in session.execute(query.order_by(Round.number))]


def keep_hold(session: Session, job_id: str, number: int, fence: str, until: float) -> bool:
    """Extends the hold of an aggregation or a measurement; False if it was lost."""
    query = update(Round).where(*_held(job_id, number, fence))
    return _changed(session, query.values(aggregator_until=until))


def close(session: Session, job_id: str, number: int, fence: str, **values: Any) -> bool:
    """Compare-and-swap aggregating -> closed by who holds the round; False if somebody else did."""
    query = update(Round).where(*_held(job_id, number, fence), Round.state == "aggregating")
    return _changed(session, query.values(state="closed", aggregator=None, **values))


def note(session: Session, job_id: str, number: int, values: dict[str, Any]) -> None:
    """Changes a closed round's row."""
    where = (Round.job_id == job_id, Round.number == number)
    session.execute(update(Round).where(*where).values(values))


def note_measured(session: Session, job_id: str, number: int, fence: str, **values: Any) -> bool:
    """Adds what was measured to a closed round that is held; False if somebody else has done so."""
    query = update(Round).where(*_held(job_id, number, fence), Round.state == "closed")
    return _changed(session, query.values(aggregator=None, **values))


def _held(job_id: str, number: int, fence: str) -> tuple[Any, ...]:
    return Round.job_id == job_id, Round.number == number, Round.aggregator == fence


def seats(session: Session, job_id: str, number: int | None = None) -> Sequence[Assignment]:
    """Assignments of a job (of one round), in order of round and client."""
    query = select(Assignment).where(Assignment.job_id == job_id)
    if number is not None:
        query = query.where(Assignment.number == number)
    return session.scalars(query.order_by(Assignment.number, Assignment.client)).all()


def next_pending(session: Session, external: str | None = None) -> Assignment | None:
    """The assignment that a client should take now, locked against other claims.

    `external` takes those of its own places; others (None) take those that nobody has joined.

    It is one of the highest priority; among those, of the job with the smallest share of its open
    work in hands; then of the oldest job. So no job keeps the workers from another of its priority.
    """
    held = func.sum(case((Assignment.state == "leased", 1.0), else_=0.0)) / func.count()
    shares = (
        select(Assignment.job_id, held.label("held"))
        .where(Assignment.state.in_(("pending", "leased")))
        .group_by(Assignment.job_id)
        .subquery()
    )
    fairest = (Job.priority.desc(), shares.c.held, Job.created_at, Job.id)
    query = (
        select(Assignment)
        .join(Job, Job.id == Assignment.job_id)
        .join(shares, shares.c.job_id == Assignment.job_id)
        .join(Client, _ITS_CLIENT)
        .where(Assignment.state == "pending", Job.state == "running", _open_to(external))
        .order_by(*fairest, Assignment.number, Assignment.client)
        .limit(1)
        .with_for_update(skip_locked=True, of=Assignment)
    )
    return session.scalar(query)


_ITS_CLIENT = and_(Client.job_id == Assignment.job_id, Client.client == Assignment.client)


def _open_to(external: str | None) -> ColumnElement[bool]:
    return Client.external.is_(None) if external is None else Client.external == external


def any_pending(session: Session, external: str | None = None) -> bool:
    """Whether `next_pending` may find something: a look that locks nothing."""
    query = (
        select(Assignment.id)
        .join(Job, Job.id == Assignment.job_id)
        .join(Client, _ITS_CLIENT)
        .where(Assignment.state == "pending", Job.state == "running", _open_to(external))
    )
    return session.scalar(query.limit(1)) is not None


def has_work(session: Session, job_id: str, number: int) -> bool:
    """Whether clients that began with a round are, or will be, at work."""
    where = (Assignment.job_id == job_id, Assignment.number == number, at_work())
    return session.scalar(select(Assignment.id).where(*where).limit(1)) is not None


def count_leased(session: Session) -> int:
    """Assignments that clients work on, of all jobs."""
    query = select(func.count()).select_from(Assignment).where(Assignment.state == "leased")
    return session.scalar(query) or 0


def locked(session: Session, assignment_id: str) -> Assignment | None:
    """An assignment, locked until the transaction ends."""
    query = select(Assignment).where(Assignment.id == assignment_id).with_for_update()
    return session.scalar(query)


def place_of(session: Session, assignment_id: str) -> tuple[str, int]:
    """The job and the round of an assignment that exists."""
    query = select(Assignment.job_id, Assignment.number).where(Assignment.id == assignment_id)
    job_id, number = session.execute(query).one()
    return job_id, number


def count_done_locked(session: Session, job_id: str, number: int) -> int:
    """Updates that a round has accepted; locks the round until the transaction ends."""
    session.get_one(Round, (job_id, number), with_for_update=True)
    done = (Assignment.job_id == job_id, Assignment.number == number, Assignment.state == "done")
    return session.scalar(select(func.count()).where(*done)) or 0


def expired(session: Session, job_id: str, now: float) -> Sequence[Assignment]:
    """Leases of a job that ran out."""
    query = select(Assignment).where(
        Assignment.job_id == job_id, Assignment.state == "leased", Assignment.lease_until < now
    )
    return session.scalars(
        query.order_by(Assignment.client).with_for_update(skip_locked=True)
    ).all()


def unheard(session: Session, job_id: str, before: float) -> Sequence[Assignment]:
    """Assignments that were announced before a time and that nobody took."""
    query = select(Assignment).where(
        Assignment.job_id == job_id, Assignment.state == "pending", Assignment.hinted_at < before
    )
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def cancel_seats(session: Session, job_id: str) -> None:
    """Takes the work of a job back from everybody."""
    # rounds before assignments, as in an aggregation: the other order would be a deadlock
    session.execute(
        update(Round)
        .where(Round.job_id == job_id, Round.state.in_(("collecting", "aggregating")))
        .values(state="failed")
    )
    held = (Round.job_id == job_id, Round.aggregator.is_not(None))
    session.execute(update(Round).where(*held).values(aggregator=None))
    session.execute(
        update(Assignment)
        .where(Assignment.job_id == job_id, Assignment.state.in_(("pending", "leased")))
        .values(state="cancelled", error=func.coalesce(Assignment.error, "the job has ended"))
    )


def sent_before(session: Session, seat: Assignment, digest: str) -> int | None:
    """The other round in which the same client handed in the same bytes."""
    query = select(Assignment.number).where(
        Assignment.job_id == seat.job_id,
        Assignment.client == seat.client,
        Assignment.digest == digest,
        Assignment.id != seat.id,
    )
    return session.scalar(query.limit(1))


def count_lost(session: Session, assignment_id: str, size: int) -> None:
    """Notes an upload that came whole and to nothing: refused, or the same once more."""
    query = update(Assignment).where(Assignment.id == assignment_id)
    session.execute(query.values(bytes_up_lost=Assignment.bytes_up_lost + size))


def _changed(session: Session, query: Any) -> bool:
    return bool(session.execute(query).rowcount)  # type: ignore[attr-defined]
