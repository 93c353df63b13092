"""Queries about invitations and external clients."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from api.db.tables import External, Invitation, Key


def invitations(session: Session, projects: frozenset[str] | None) -> Sequence[Invitation]:
    """Invitations of some projects (None: of all), newest first."""
    query = select(Invitation).order_by(Invitation.created_at.desc(), Invitation.id)
    if projects is not None:
        query = query.where(Invitation.project.in_(projects))
    return session.scalars(query).all()


def listing(session: Session, projects: frozenset[str] | None) -> Sequence[External]:
    """External clients of some projects (None: of all), by project and name."""
    query = select(External).order_by(External.project, External.name)
    if projects is not None:
        query = query.where(External.project.in_(projects))
    return session.scalars(query).all()


def named(session: Session, project: str, name: str) -> External | None:
    """The client of this name in a project, locked."""
    query = select(External).where(External.project == project, External.name == name)
    return session.scalar(query.with_for_update())


def valid_keys(session: Session, client: str, now: float) -> list[str]:
    """Ids of a client's keys that open the door."""
    lasting = or_(Key.expires_at.is_(None), Key.expires_at > now)
    query = select(Key.id).where(Key.client == client, Key.revoked_at.is_(None), lasting)
    return list(session.scalars(query.order_by(Key.created_at, Key.id)))


def revoke_keys(session: Session, client: str, now: float) -> None:
    """Makes all keys of a client invalid."""
    query = update(Key).where(Key.client == client, Key.revoked_at.is_(None))
    session.execute(query.values(revoked_at=now))


def note_heartbeat(session: Session, client: str, now: float) -> None:
    """Notes that a client was heard of."""
    session.execute(update(External).where(External.id == client).values(heartbeat_at=now))


def count_active(session: Session, project: str) -> int:
    """Clients of a project that are not revoked."""
    where = (External.project == project, External.revoked_at.is_(None))
    return session.scalar(select(func.count()).where(*where)) or 0


def remove_invitations(session: Session, project: str) -> None:
    """Takes the invitations of a project away."""
    session.execute(delete(Invitation).where(Invitation.project == project))
