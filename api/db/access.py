"""Queries about users, projects, members and keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.db.jobs import OPEN_STATES
from api.db.tables import Job, Key, Member, Project, User

DEFAULT_PROJECT = "default"


def key_with_hash(session: Session, digest: str) -> Key | None:
    """The key whose SHA-256 this is."""
    return session.scalar(select(Key).where(Key.hash == digest))


def keys_of(session: Session, user: str | None) -> Sequence[Key]:
    """The keys of a user (None: all keys), newest first."""
    query = select(Key).order_by(Key.created_at.desc(), Key.id)
    return session.scalars(query if user is None else query.where(Key.user == user)).all()


def note_use(session: Session, key_id: str, now: float) -> None:
    """Notes when a key was used last."""
    session.execute(update(Key).where(Key.id == key_id).values(last_used_at=now))


def projects_of(session: Session, user: str) -> frozenset[str]:
    """The projects that a user is a member of."""
    return frozenset(session.scalars(select(Member.project).where(Member.user == user)))


def users(session: Session) -> Sequence[User]:
    """All users by name."""
    return session.scalars(select(User).order_by(User.name)).all()


def projects(session: Session, names: frozenset[str] | None) -> Sequence[Project]:
    """The projects with these names (None: all), by name."""
    query = select(Project).order_by(Project.name)
    return session.scalars(query if names is None else query.where(Project.name.in_(names))).all()


def names_of_projects(session: Session) -> Sequence[str]:
    """All projects' names."""
    return session.scalars(select(Project.name).order_by(Project.name)).all()


def members(session: Session, project: str) -> list[str]:
    """Users that are members of a project."""
    query = select(Member.user).where(Member.project == project).order_by(Member.user)
    return list(session.scalars(query))


def lock_admins(session: Session) -> Sequence[str]:
    """The admins that are not disabled, locked: nobody else changes them in this transaction."""
    query = select(User.name).where(User.role == "admin", User.disabled_at.is_(None))
    return session.scalars(query.order_by(User.name).with_for_update()).all()


def lock_project(session: Session, name: str) -> Project | None:
    """A project, locked: the jobs that are open in it can be counted and no other is added.

    key_share: whoever only refers to the project need not wait.
    """
    return session.get(Project, name, with_for_update={"key_share": True})


def open_jobs(session: Session, names: Sequence[str]) -> dict[str, int]:
    """How many jobs of each project have not ended; projects without any are left out."""
    query = select(Job.project, func.count()).group_by(Job.project)
    query = query.where(Job.project.in_(names), Job.state.in_(OPEN_STATES))
    return {row[0]: int(row[1]) for row in session.execute(query)}


def count_jobs(session: Session, project: str) -> int:
    """All jobs of a project, ended ones too."""
    return session.scalar(select(func.count()).where(Job.project == project)) or 0


def remove_members(session: Session, project: str) -> None:
    """Leaves a project without members."""
    session.execute(delete(Member).where(Member.project == project))


def add_once(session: Session, row: User | Project | Member | Key) -> bool:
    """Adds a row; False if there is one with the same key, also if it came this very moment."""
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        return False
    return True
