"""Queries for curves: what is summed or thinned out before it leaves the database.

A job may have a thousand rounds of hundreds of clients; none of these queries reads their rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from api.db.tables import Assignment, Round

Measured = list[tuple[int, dict[str, float]]]


@dataclass(frozen=True)
class Sums:
    """What the clients of a round took together; times are means of a client whose update came."""

    bytes_up: int = 0
    bytes_down: int = 0
    peak_memory_bytes: int = 0
    train_s: float = 0.0
    leased_s: float = 0.0  # from the lease to the accepted update


def measured(session: Session, job_ids: Sequence[str], points: int) -> dict[str, Measured]:
    """(round, metrics) of each job's measured rounds in order, the last and at most `points`."""
    order = func.row_number().over(partition_by=Round.job_id, order_by=Round.number.desc())
    count = func.count().over(partition_by=Round.job_id)
    where = (Round.job_id.in_(job_ids), Round.number > 0, Round.measured_at.is_not(None))
    columns = (Round.job_id, Round.number, Round.metrics)
    all_of = select(*columns, order.label("from_last"), count.label("count")).where(*where)
    found = all_of.subquery()
    step = found.c["count"] // points + 1
    query = select(found).where((found.c.from_last - 1) % step == 0)
    curves: dict[str, Measured] = defaultdict(list)
    for row in session.execute(query.order_by(found.c.job_id, found.c.number)):
        curves[row.job_id].append((row.number, row.metrics))
    return curves


def last_closed(session: Session, job_ids: Sequence[str]) -> dict[str, float]:
    """When the last closed round of each job closed."""
    query = (
        select(Round.job_id, func.max(Round.closed_at))
        .where(Round.job_id.in_(job_ids), Round.number > 0, Round.state == "closed")
        .group_by(Round.job_id)
    )
    return {job: at for job, at in session.execute(query) if at is not None}


def closed(session: Session, job_id: str) -> Sequence[Row[Any]]:
    """Number, times and metrics of a job's closed rounds, in order."""
    columns = (Round.number, Round.opened_at, Round.closed_at, Round.stopped_s)
    query = select(*columns, Round.aggregate_s, Round.metrics, Round.measured_at)
    where = (Round.job_id == job_id, Round.number > 0, Round.state == "closed")
    return session.execute(query.where(*where).order_by(Round.number)).all()


def sums(session: Session, job_id: str) -> dict[int, Sums]:
    """Of each round of a job what its clients took.

    A download belongs to the round that its client began with, all else to the one that the update
    is counted in.
    """
    counted = func.coalesce(Assignment.counted_in, Assignment.number).label("counted")
    train_s, leased_s = Assignment.train_s, Assignment.done_at - Assignment.leased_at
    # one pass over the rows, which are wide: a group is what began and is counted in the same round
    query = select(
        Assignment.number,
        counted,
        func.sum(Assignment.bytes_down).label("down"),
        func.sum(Assignment.bytes_up).label("up"),
        func.max(Assignment.peak_memory_bytes).label("peak"),
        func.sum(train_s).label("train_s"),
        func.count(train_s).label("trained"),
        func.sum(leased_s).label("leased_s"),
        func.count(leased_s).label("leased"),
    ).where(Assignment.job_id == job_id)
    groups = session.execute(query.group_by(Assignment.number, counted)).all()
    begun, handed_in = defaultdict[int, int](int), defaultdict[int, list[Any]](list)
    for group in groups:
        begun[group.number] += int(group.down)
        handed_in[group.counted].append(group)
    return {at: _joined(of, begun[at]) for at, of in handed_in.items()}


def _joined(groups: Sequence[Any], bytes_down: int) -> Sums:
    return Sums(
        bytes_up=sum(int(group.up) for group in groups),
        bytes_down=bytes_down,
        peak_memory_bytes=max(group.peak or 0 for group in groups),
        train_s=_mean(groups, "train_s", "trained"),
        leased_s=_mean(groups, "leased_s", "leased"),
    )


def _mean(groups: Sequence[Any], sums: str, counts: str) -> float:
    """Of what some rows have: of the sums of groups, and of how many each is."""
    count = sum(int(getattr(group, counts)) for group in groups)
    whole = sum(float(getattr(group, sums) or 0.0) for group in groups)
    return whole / count if count else 0.0
