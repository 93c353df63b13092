"""The assignments that a round is made of, for those who look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from api.db.tables import Assignment

WORKING = ("pending", "leased")


@dataclass(frozen=True, slots=True)
class Seat:
    """What a round is made of, of one assignment: thousands are read for a page."""

    client: int
    number: int
    counted_in: int | None
    state: str
    bytes_up: int
    bytes_down: int
    peak_memory_bytes: int | None
    train_s: float | None
    holdout: dict[str, Any] | None


def seats_from(session: Session, job_id: str, first: int) -> list[Seat]:
    """Assignments that began with a round or a later one, are counted in one, or are at work."""
    since = or_(Assignment.number >= first, Assignment.counted_in >= first, at_work())
    query = select(*(getattr(Assignment, column.name) for column in fields(Seat)))
    found = session.execute(query.where(Assignment.job_id == job_id, since))
    return [Seat(*row) for row in found]


def seats_about(session: Session, job_id: str, number: int) -> Sequence[Assignment]:
    """Assignments that may concern a round: begun with it, counted in it, or at work now."""
    about = or_(Assignment.number == number, Assignment.counted_in == number, at_work())
    query = select(Assignment).where(Assignment.job_id == job_id, about)
    return session.scalars(query.order_by(Assignment.number, Assignment.client)).all()


def at_work() -> ColumnElement[bool]:
    """Whether a client works on an assignment, or will."""
    return Assignment.state.in_(WORKING)
