"""Users, their projects and keys, made without HTTP."""

from __future__ import annotations

from sqlalchemy import Engine

from api.access_schemas import KeyIn, KeyMade, ProjectIn, Role, UserIn
from api.client_schemas import EnrolIn, Enrolled, InvitationIn
from api.services import callers, enrolment, invitations, keys, projects, users
from api.services.callers import Caller

ADMIN = Caller(key="0" * 16, role="admin", user="root")


def project(engine: Engine, name: str, max_open_jobs: int | None = None) -> str:
    asked = ProjectIn(name=name, max_open_jobs=max_open_jobs)
    projects.create(engine, ADMIN, asked, 100)
    return name


def user(engine: Engine, name: str, role: Role = "operator", *member_of: str) -> KeyMade:
    """A user, in some projects, with a key."""
    users.create(engine, UserIn(name=name, role=role))
    for each in member_of:
        projects.add_member(engine, each, name, 100)
    return keys.create(engine, ADMIN, KeyIn(user=name))


def key(engine: Engine, name: str, expires_in_s: int | None = None) -> KeyMade:
    return keys.create(engine, ADMIN, KeyIn(user=name, expires_in_s=expires_in_s))


def worker(engine: Engine) -> KeyMade:
    return keys.create(engine, ADMIN, KeyIn(role="worker"))


def external(
    engine: Engine, name: str, project: str = "default", labels: dict[str, str] | None = None
) -> Enrolled:
    """An external client that has enrolled."""
    asked = InvitationIn(project=project, labels=labels or {})
    made = invitations.create(engine, ADMIN, asked)
    caller = callers.authenticate(engine, f"Bearer {made.token}")
    return enrolment.enrol(engine, caller, EnrolIn(name=name))


def bearer(made: KeyMade | Enrolled | str) -> dict[str, str]:
    secret = made if isinstance(made, str) else made.key
    return {"Authorization": f"Bearer {secret}"}
