"""Users: made and changed by admins, never deleted."""

from __future__ import annotations

import time

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.access_schemas import MeOut, UserChange, UserIn, UserOut
from api.db import access, audit
from api.db.session import reading, writing
from api.db.tables import User
from api.errors import ApiError, not_found
from api.services import keys
from api.services.callers import Caller
from api.services.views import moment


def create(engine: Engine, asked: UserIn) -> UserOut:
    """A new user without keys and projects; ApiError 409 if the name is taken."""
    row = User(name=asked.name, role=asked.role, created_at=time.time())
    with writing(engine) as session:
        audit.about(target=asked.name, detail=f"role {asked.role}")
        if not access.add_once(session, row):
            raise ApiError(409, "conflict", f"there is a user {asked.name!r} already")
        return _out(session, row)


def listing(engine: Engine) -> list[UserOut]:
    """All users by name."""
    with reading(engine) as session:
        return [_out(session, user) for user in access.users(session)]


def get(engine: Engine, name: str) -> UserOut:
    """One user."""
    with reading(engine) as session:
        return _out(session, require(session, name))


def change(engine: Engine, name: str, asked: UserChange) -> UserOut:
    """Another role, disabled, or enabled again; ApiError 409 if no admin would be left."""
    with writing(engine) as session:
        admins = access.lock_admins(session)
        user = require(session, name)
        role, was = asked.role or user.role, user.disabled_at is not None
        disabled = was if asked.disabled is None else asked.disabled
        if list(admins) == [name] and (role != "admin" or disabled):
            detail = f"{name!r} is the last admin: make another one first"
            raise ApiError(409, "conflict", detail)
        audit.about(detail=_change(user.role, role, was, disabled))
        user.role = role
        if disabled != was:
            user.disabled_at = time.time() if disabled else None
        return _out(session, user)


def _change(old: str, new: str, was_disabled: bool, disabled: bool) -> str:
    parts = [f"role {old} -> {new}"] if old != new else []
    if was_disabled != disabled:
        parts.append("disabled" if disabled else "enabled")
    return ", ".join(parts) or "no change"


def me(engine: Engine, caller: Caller) -> MeOut:
    """Who calls, with which key, and which projects they see."""
    key = keys.one(engine, caller.key)
    with reading(engine) as session:
        every = access.names_of_projects(session)
    seen = [name for name in every if caller.sees(name)]
    return MeOut(user=caller.user, role=caller.role, projects=seen, key=key)  # type: ignore[arg-type]


def require(session: Session, name: str) -> User:
    """A user's row; ApiError 404."""
    user = session.get(User, name)
    if user is None:
        raise not_found("user", name)
    return user


def _out(session: Session, user: User) -> UserOut:
    every = user.role == "admin"
    return UserOut(
        name=user.name,
        role=user.role,  # type: ignore[arg-type]
        disabled=user.disabled_at is not None,
        projects=None if every else sorted(access.projects_of(session, user.name)),
        created_at=moment(user.created_at),
    )
