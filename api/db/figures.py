"""Sums over the tables, and the totals that outlive the rows they came from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api.db.tables import Assignment, Round, Total

LEASES_EXPIRED = "leases_expired"

Sums = dict[str, float]


def states(session: Session, column: Any) -> dict[str, int]:
    """How many rows are in each state."""
    counted = session.execute(select(column, func.count()).group_by(column))
    return {str(state): int(count) for state, count in counted}


def open_age_s(session: Session, now: float) -> tuple[float, float]:
    """Seconds that the oldest open round is open, and the oldest assignment waits for a worker."""
    opened = select(func.min(Round.opened_at)).where(Round.state.in_(("collecting", "aggregating")))
    waiting = select(func.min(Assignment.created_at)).where(Assignment.state == "pending")
    return _age_s(session.scalar(opened), now), _age_s(session.scalar(waiting), now)


def _age_s(since: float | None, now: float) -> float:
    return 0.0 if since is None else max(0.0, now - since)


def busy_workers(session: Session) -> int:
    """Worker processes that hold a lease."""
    query = select(func.count(Assignment.worker.distinct())).where(Assignment.state == "leased")
    return int(session.scalar(query) or 0)


def workers(session: Session, since: float) -> list[tuple[str, float, bool]]:
    """(worker, when it was last heard of, whether it holds a lease), last heard of first."""
    heard, leased = func.max(Assignment.heartbeat_at), Assignment.state == "leased"
    query = select(Assignment.worker, heard, func.max(case((leased, 1), else_=0)))
    query = query.where(Assignment.worker.is_not(None), Assignment.heartbeat_at > since)
    found = session.execute(query.group_by(Assignment.worker).order_by(heard.desc()))
    return [(str(name), float(at), bool(busy)) for name, at, busy in found]


def sums(session: Session) -> Sums:
    """What all jobs took together, those deleted by now included."""
    found = _rows(session)
    for name, value in session.execute(select(Total.name, Total.value)):
        found[name] = found.get(name, 0.0) + value
    return found


def keep(session: Session, job_id: str) -> None:
    """Call it in the transaction that deletes a job's rows: its figures stay in the totals."""
    for name, value in _rows(session, job_id).items():
        if value:
            add(session, name, value)


def add(session: Session, name: str, value: float) -> None:
    """Raises a total."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    row = dialect.insert(Total).values(name=name, value=value)
    raised = {"value": Total.value + row.excluded.value}
    session.execute(row.on_conflict_do_update(index_elements=[Total.name], set_=raised))


def _rows(session: Session, job_id: str | None = None) -> Sums:
    """The sums of the rows of a job, or of all."""
    found: Sums = {}
    for table, query in ((Assignment, _OF_ASSIGNMENTS), (Round, _OF_ROUNDS)):
        one = query if job_id is None else query.where(table.job_id == job_id)
        row = session.execute(one).mappings().one()
        found |= {str(name): float(value or 0) for name, value in row.items()}
    return found


def _not_below_0(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((value < 0, 0.0), else_=value)


def _assignments() -> Any:
    a = Assignment
    busy = a.done_at - a.leased_at
    # the client says how long it trained; more than the time it had the lease cannot be
    train = case((a.train_s > busy, _not_below_0(busy)), else_=a.train_s)
    done = a.digest.is_not(None)
    return select(
        func.count(a.digest).label("updates_accepted"),
        func.sum(a.attempt).label("leases_granted"),
        # what is lost moves from one column to the other: only the sum of both never falls
        func.sum(a.bytes_up + a.bytes_up_lost).label("bytes_up"),
        func.sum(a.bytes_down + a.bytes_lost).label("bytes_down"),
        func.sum(a.bytes_up_lost).label("bytes_up_lost"),
        func.sum(a.bytes_lost).label("bytes_down_lost"),
        func.sum(case((done, train), else_=0.0)).label("train_s"),
        func.sum(case((done, _not_below_0(busy - train)), else_=0.0)).label("transfer_s"),
        func.sum(case((done, _not_below_0(a.leased_at - a.created_at)), else_=0.0)).label("wait_s"),
    )


def _rounds() -> Any:
    r = Round
    closed = case((r.state == "closed", 1), else_=0)
    took = case((r.state == "closed", _not_below_0(r.closed_at - r.opened_at)), else_=0.0)
    return select(
        func.sum(closed).label("rounds_closed"),
        func.sum(took).label("round_s"),
        func.sum(r.aggregate_s).label("aggregate_s"),
        func.sum(r.evaluate_s).label("evaluate_s"),
    ).where(r.number > 0)


_OF_ASSIGNMENTS, _OF_ROUNDS = _assignments(), _rounds()
