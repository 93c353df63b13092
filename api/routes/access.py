"""Users and keys: who may use the service, and with what."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api import guard
from api.access_schemas import (
    KeyIn,
    KeyMade,
    KeyOut,
    Keys,
    MeOut,
    RotateIn,
    UserChange,
    UserIn,
    UserOut,
    Users,
)
from api.deps import Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.services import keys, users

users_router = guard.router("/v1/users", "users", guard.ForAdmins)
keys_router = guard.router("/v1", "keys", guard.ForEverybody)


@users_router.get("")
def list_users(engine: Database) -> Users:
    """All users by name."""
    return Users(items=users.listing(engine))


@users_router.post("", status_code=201, responses=problem_responses(409))
def create_user(body: UserIn, engine: Database) -> UserOut:
    """Makes a user, who then needs a key and, unless an admin, projects."""
    return users.create(engine, body)


@users_router.get("/{user}", responses=problem_responses(404))
def get_user(user: str, engine: Database) -> UserOut:
    """One user."""
    return users.get(engine, user)


@users_router.patch("/{user}", responses=problem_responses(404, 409))
def change_user(user: str, body: UserChange, engine: Database) -> UserOut:
    """Gives a user another role, disables or enables them. 409: no admin would be left."""
    return users.change(engine, user, body)


@keys_router.get("/me")
def me(engine: Database, caller: CallerOf) -> MeOut:
    """Who the caller is, their role, their projects and the key they use."""
    return users.me(engine, caller)


@keys_router.get("/keys")
def list_keys(
    engine: Database,
    caller: CallerOf,
    user: Annotated[str | None, Query(max_length=64, description="Whose; admins only")] = None,
) -> Keys:
    """The caller's keys without their secrets; for an admin all keys, newest first."""
    return Keys(items=keys.listing(engine, caller, user))


@keys_router.post("/keys", status_code=201, responses=problem_responses(404))
def create_key(body: KeyIn, engine: Database, caller: CallerOf) -> KeyMade:
    """Makes a key, which is shown this once. Admins make keys for others and for workers."""
    return keys.create(engine, caller, body)


@keys_router.delete("/keys/{key_id}", responses=problem_responses(404))
def revoke_key(key_id: str, engine: Database, caller: CallerOf) -> KeyOut:
    """Makes a key invalid at once."""
    return keys.revoke(engine, caller, key_id)


@keys_router.post("/keys/{key_id}/rotate", status_code=201, responses=problem_responses(404, 409))
def rotate_key(
    key_id: str, engine: Database, caller: CallerOf, body: RotateIn | None = None
) -> KeyMade:
    """Makes a key in the place of an old one, which becomes invalid, at once or after a grace."""
    return keys.rotate(engine, caller, key_id, body.grace_s if body else 0)
