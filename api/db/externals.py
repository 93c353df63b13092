"""Queries about invitations and external clients."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from api.db.jobs import OPEN_STATES
from api.db.tables import Assignment, Client, External, Invitation, Job, Key, Refusal

_ITS_PLACE = (Client.job_id == Assignment.job_id) & (Client.client == Assignment.client)


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


def valid_keys(session: Session, clients: Sequence[str], now: float) -> Sequence[tuple[str, str]]:
    """(client, id of a key that opens the door) of some clients, in order of creation."""
    lasting = or_(Key.expires_at.is_(None), Key.expires_at > now)
    query = select(Key.client, Key.id)
    query = query.where(Key.client.in_(clients), Key.revoked_at.is_(None), lasting)
    found = session.execute(query.order_by(Key.created_at, Key.id))
    return [(str(row[0]), row[1]) for row in found]


def work_of(session: Session, clients: Sequence[str]) -> Sequence[tuple[str, Assignment, Job]]:
    """(client, assignment, its job) of what some clients hold a lease for, oldest first."""
    query = (
        select(Client.external, Assignment, Job)
        .join(Assignment, _ITS_PLACE)
        .join(Job, Job.id == Assignment.job_id)
        .where(Client.external.in_(clients), Assignment.state == "leased")
    )
    found = session.execute(query.order_by(Assignment.leased_at, Assignment.id))
    return [(str(row[0]), row[1], row[2]) for row in found]


def open_refusals(session: Session, clients: Sequence[str]) -> Sequence[tuple[Refusal, str]]:
    """What some clients turned down of the jobs that have not ended, with the jobs' names."""
    query = select(Refusal, Job.name).join(Job, Job.id == Refusal.job_id)
    query = query.where(Refusal.external.in_(clients), Job.state.in_(OPEN_STATES))
    return [(row[0], row[1]) for row in session.execute(query.order_by(Refusal.at))]


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


def holds(session: Session, external: str, assignment_id: str) -> bool:
    """Whether an assignment is that of a place which the client has."""
    query = (
        select(Assignment.id)
        .join(Client, _ITS_PLACE)
        .where(Assignment.id == assignment_id, Client.external == external)
    )
    return session.scalar(query) is not None


def jobs_for(session: Session, project: str) -> Sequence[Job]:
    """The jobs of a project that have not ended, oldest first."""
    query = select(Job).where(Job.project == project, Job.state.in_(OPEN_STATES))
    return session.scalars(query.order_by(Job.created_at, Job.id)).all()


def place_of(session: Session, job_id: str, external: str) -> Client | None:
    """The place that a client has in a job."""
    query = select(Client).where(Client.job_id == job_id, Client.external == external)
    return session.scalar(query)


def free_place(session: Session, job_id: str, first: int) -> Client | None:
    """The lowest place from `first` on that nobody has, locked."""
    query = select(Client).where(
        Client.job_id == job_id, Client.client >= first, Client.external.is_(None)
    )
    return session.scalar(query.order_by(Client.client).limit(1).with_for_update())


def joined(session: Session, job_id: str) -> Sequence[tuple[Client, External]]:
    """The places of a job that clients have, with who has them, in order."""
    query = select(Client, External).join(External, External.id == Client.external)
    found = session.execute(query.where(Client.job_id == job_id).order_by(Client.client))
    return [(row[0], row[1]) for row in found]


def present(session: Session, job_id: str) -> set[int]:
    """The places of a job whose clients may take part."""
    refused = exists().where(Refusal.job_id == job_id, Refusal.external == External.id)
    query = select(Client.client).join(External, External.id == Client.external)
    return set(session.scalars(query.where(Client.job_id == job_id, _MAY_WORK, ~refused)))


def refusals(session: Session, job_id: str) -> Sequence[tuple[Refusal, External]]:
    """Who may join a job and does not."""
    query = select(Refusal, External).join(External, External.id == Refusal.external)
    found = session.execute(query.where(Refusal.job_id == job_id).order_by(External.name))
    return [(row[0], row[1]) for row in found]


_MAY_WORK: ColumnElement[bool] = External.revoked_at.is_(None) & External.quarantined_at.is_(None)


def offered_since(session: Session, external: str, moment: float) -> bool:
    """Whether a job of the client's project was submitted after a time."""
    query = select(Job.id).join(External, External.project == Job.project)
    mine = (External.id == external, Job.created_at > moment, Job.state.in_(OPEN_STATES))
    return session.scalar(query.where(*mine).limit(1)) is not None


def stop_work(
    session: Session, external: str, reason: str, job_id: str | None = None
) -> Sequence[str]:
    """Takes a client's work (of one job) from it for good; the jobs that it was for."""
    its = select(Assignment.id).join(Client, _ITS_PLACE)
    its = its.where(Client.external == external, Assignment.state.in_(("pending", "leased")))
    if job_id is not None:
        its = its.where(Client.job_id == job_id)
    ids = session.scalars(its).all()
    if not ids:
        return []
    query = update(Assignment).where(Assignment.id.in_(ids))
    session.execute(query.values(state="failed", error=reason, lease_hash=None))
    jobs = select(Assignment.job_id).where(Assignment.id.in_(ids)).distinct()
    return session.scalars(jobs).all()


def open_jobs_of(session: Session, external: str) -> Sequence[str]:
    """The jobs that have not ended in which a client has a place."""
    query = select(Job.id).join(Client, Client.job_id == Job.id)
    mine = (Client.external == external, Job.state.in_(OPEN_STATES))
    return session.scalars(query.where(*mine).order_by(Job.id)).all()
