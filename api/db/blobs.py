"""Queries about the account of blobs: who stores, refers to and clears away a blob.

Whoever needs a blob to stay locks its row, and so does whoever removes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Insert, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api.db.tables import Assignment, Blob, Export, Round, Upload

# every column that refers to a blob
REFERENCES = (
    Round.digest,
    Round.server_digest,
    Round.checkpoint_digest,
    Round.reference_digest,
    Assignment.digest,
    Export.digest,
    Upload.digest,
)


def touch(session: Session, digest: str, size: int, now: float) -> str:
    """Notes that a blob is about to be stored, and returns its fence.

    Waits while the blob is being removed.
    """
    insert: Any = _insert(session)
    query = insert.values(_row(digest, size, now)).on_conflict_do_update(
        index_elements=[Blob.digest], set_={"touched_at": now}
    )
    return str(session.scalars(query.returning(Blob.fence)).one())


def hold(session: Session, digest: str, fence: str, now: float) -> bool:
    """Locks a blob's row for a transaction that refers to it.

    False if the blob may have been removed since its fence was given.
    """
    same = (Blob.digest == digest, Blob.fence == fence)
    query = update(Blob).where(*same).values(touched_at=now)
    return bool(session.execute(query).rowcount)  # type: ignore[attr-defined]


def adopt(session: Session, found: Iterable[tuple[str, int]], now: float) -> int:
    """Takes stored blobs, (digest, size), onto the account that are not yet; returns how many."""
    rows = [_row(digest, size, now) for digest, size in found]
    if not rows:
        return 0
    insert: Any = _insert(session)
    query = insert.values(rows).on_conflict_do_nothing().returning(Blob.digest)
    return len(session.scalars(query).all())


def unused(session: Session, before: float, limit: int) -> Sequence[str]:
    """Blobs that nothing refers to and that were touched last before a time, oldest first."""
    query = select(Blob.digest).where(Blob.touched_at < before)
    for column in REFERENCES:
        query = query.where(~exists().where(column == Blob.digest))
    return session.scalars(query.order_by(Blob.touched_at).limit(limit)).all()


def locked_unused(session: Session, digest: str, before: float) -> Blob | None:
    """A blob's row, locked, if the blob is still unused; None if not, or if another holds it."""
    query = select(Blob).where(Blob.digest == digest, Blob.touched_at < before)
    row = session.scalar(query.with_for_update(skip_locked=True))
    # a statement of its own: it sees what was committed before the lock was given
    return None if row is None or _is_referred_to(session, digest) else row


def _is_referred_to(session: Session, digest: str) -> bool:
    return any(session.scalar(select(exists().where(column == digest))) for column in REFERENCES)


def new_fence() -> str:
    """A fence that nobody has."""
    return secrets.token_hex(16)


def _row(digest: str, size: int, now: float) -> dict[str, Any]:
    times = {"created_at": now, "touched_at": now}
    return {"digest": digest, "size": size, "fence": new_fence(), **times}


def _insert(session: Session) -> Insert:
    dialect = session.get_bind().dialect.name
    return postgresql.insert(Blob) if dialect == "postgresql" else sqlite.insert(Blob)
