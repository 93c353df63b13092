"""Which states and checkpoints a job's rounds left: what each claim and download asks for."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.tables import Round


class Stored(NamedTuple):
    """What of a round is kept for clients: the digests of state and checkpoint, and their bytes."""

    number: int
    digest: str | None
    size: int | None
    checkpoint_digest: str | None
    checkpoint_size: int | None


def since(session: Session, job_id: str, first: int) -> list[Stored]:
    """A job's rounds from `first` on, in order, without what is large in their rows."""
    columns = (getattr(Round, name) for name in Stored._fields)
    query = select(*columns).where(Round.job_id == job_id, Round.number >= first)
    return [Stored(*row) for row in session.execute(query.order_by(Round.number))]
