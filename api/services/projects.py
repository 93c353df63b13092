"""Projects: what jobs belong to, who sees them, and how many may be open."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.access_schemas import ProjectChange, ProjectIn, ProjectOut
from api.db import access, audit, externals, uploads
from api.db.access import DEFAULT_PROJECT
from api.db.session import reading, writing
from api.db.tables import Member, Project
from api.errors import ApiError, not_found
from api.services import users
from api.services.callers import Caller
from api.services.views import moment


@dataclass(frozen=True)
class Place:
    """Where a new job goes: its project, who submits it, and how many jobs may be open there."""

    project: str = DEFAULT_PROJECT
    created_by: str | None = None
    max_open_jobs: int = 100  # of a project that has no limit of its own


def choose(caller: Caller, asked: str | None) -> str:
    """The project of a new job: the one asked for, else `default`, else the only one there is."""
    if asked is not None:
        if not caller.sees(asked):
            raise not_found("project", asked)
        return asked
    if caller.sees(DEFAULT_PROJECT):
        return DEFAULT_PROJECT
    own = sorted(caller.projects or ())
    if len(own) == 1:
        return own[0]
    allowed = f"say which project, such as ?project={own[0]}" if own else "you are in no project"
    raise ApiError(422, "invalid-request", f"no project was given: {allowed}")


def narrowed(caller: Caller, asked: str | None) -> frozenset[str] | None:
    """The project asked for, else all that the caller sees (None: every one); ApiError 404."""
    if asked is not None and not caller.sees(asked):
        raise not_found("project", asked)
    return caller.projects if asked is None else frozenset({asked})


def require_room(session: Session, name: str, default_limit: int) -> None:
    """Room for one more open job in a project, until the transaction ends.

    The project's row stays locked, so that two submits cannot both take the last place. To be
    called by whatever opens a job: a submit, a clone, a retry. ApiError 404, or 409 when full.
    """
    project = access.lock_project(session, name)
    if project is None:
        raise not_found("project", name)
    limit = _limit(project, default_limit)
    count = access.open_jobs(session, [name]).get(name, 0)
    if count >= limit:
        detail = f"project {name!r} has {count} open jobs, its limit max_open_jobs is {limit}"
        raise ApiError(409, "too-many-jobs", detail)


def listing(engine: Engine, caller: Caller, default_limit: int) -> list[ProjectOut]:
    """The projects that the caller sees."""
    with reading(engine) as session:
        return _outs(session, access.projects(session, caller.projects), default_limit)


def get(engine: Engine, name: str, default_limit: int) -> ProjectOut:
    """One project with its members."""
    with reading(engine) as session:
        return _outs(session, [_require(session, name)], default_limit)[0]


def create(engine: Engine, caller: Caller, asked: ProjectIn, default_limit: int) -> ProjectOut:
    """A new project without members; ApiError 409 if the name is taken."""
    row = Project(
        name=asked.name,
        created_at=time.time(),
        created_by=caller.user,
        max_open_jobs=asked.max_open_jobs,
    )
    with writing(engine) as session:
        audit.about(target=asked.name, project=asked.name)
        if not access.add_once(session, row):
            raise ApiError(409, "conflict", f"there is a project {asked.name!r} already")
        return _outs(session, [row], default_limit)[0]


def change(engine: Engine, name: str, asked: ProjectChange, default_limit: int) -> ProjectOut:
    """Another limit on open jobs."""
    with writing(engine) as session:
        project = _locked(session, name)
        project.max_open_jobs = asked.max_open_jobs
        audit.about(detail=f"max_open_jobs {asked.max_open_jobs}")
        return _outs(session, [project], default_limit)[0]


def remove(engine: Engine, name: str) -> None:
    """Takes an empty project away; ApiError 409 if jobs belong to it, or for `default`."""
    with writing(engine) as session:
        project = _locked(session, name)
        count = access.count_jobs(session, name)
        if count:
            raise ApiError(409, "conflict", f"project {name!r} has {count} jobs: it must be empty")
        if clients := externals.count_active(session, name):
            detail = f"project {name!r} has {clients} external clients: revoke them first"
            raise ApiError(409, "conflict", detail)
        if files := uploads.count(session, name):
            raise ApiError(409, "conflict", f"project {name!r} has {files} uploads: delete them")
        if name == DEFAULT_PROJECT:
            raise ApiError(409, "conflict", f"project {name!r} cannot be removed")
        access.remove_members(session, name)
        externals.remove_invitations(session, name)
        session.delete(project)


def add_member(engine: Engine, name: str, user: str, default_limit: int) -> ProjectOut:
    """Lets a user see a project; harmless for a member."""
    with writing(engine) as session:
        project = _locked(session, name)
        users.require(session, user)
        audit.about(target=user)
        access.add_once(session, Member(project=name, user=user))
        return _outs(session, [project], default_limit)[0]


def remove_member(engine: Engine, name: str, user: str, default_limit: int) -> ProjectOut:
    """Hides a project from a user; ApiError 404 for somebody who is no member."""
    with writing(engine) as session:
        project = _locked(session, name)
        member = session.get(Member, (name, user))
        if member is None:
            raise not_found(f"member of project {name!r}", user)
        audit.about(target=user)
        session.delete(member)
        session.flush()
        return _outs(session, [project], default_limit)[0]


def _require(session: Session, name: str) -> Project:
    project = session.get(Project, name)
    if project is None:
        raise not_found("project", name)
    return project


def _locked(session: Session, name: str) -> Project:
    project = access.lock_project(session, name)
    if project is None:
        raise not_found("project", name)
    return project


def _limit(project: Project, default_limit: int) -> int:
    return default_limit if project.max_open_jobs is None else project.max_open_jobs


def _outs(session: Session, found: Sequence[Project], default_limit: int) -> list[ProjectOut]:
    counts = access.open_jobs(session, [project.name for project in found])
    return [
        ProjectOut(
            name=project.name,
            members=access.members(session, project.name),
            open_jobs=counts.get(project.name, 0),
            max_open_jobs=_limit(project, default_limit),
            created_at=moment(project.created_at),  # type: ignore[arg-type]
            created_by=project.created_by,
        )
        for project in found
    ]
