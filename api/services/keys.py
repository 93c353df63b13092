"""API keys: `fk_<id>_<secret>`, shown once, kept as SHA-256 (256 random bits need no slow hash)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.access_schemas import KeyIn, KeyMade, KeyOut
from api.db import access, audit
from api.db.session import reading, writing
from api.db.tables import Key, Project, User
from api.errors import ApiError, not_found
from api.services.views import moment

if TYPE_CHECKING:
    from api.services.callers import Caller

_FORM = re.compile(r"fk_([0-9a-f]{16})_[A-Za-z0-9_-]+")
BOOTSTRAP_USER = "admin"


def hash_of(secret: str) -> str:
    """SHA-256 of a key or token, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(secret: str, stored_hash: str | None) -> bool:
    """Whether a secret has the stored hash, compared in constant time."""
    return stored_hash is not None and hmac.compare_digest(hash_of(secret), stored_hash)


def id_in(secret: str) -> str | None:
    """The id of the row that a key names itself; None for a key of another form."""
    found = _FORM.fullmatch(secret)
    return found[1] if found else None


def store(engine: Engine, secret: str, role: Literal["admin", "worker"]) -> None:
    """Keeps the hash of a key that was made elsewhere; harmless if it is known.

    The key of role admin is that of the user `admin`, who is made if there is no such user.
    """
    now = time.time()
    with writing(engine) as session:
        access.add_once(session, Project(name=access.DEFAULT_PROJECT, created_at=now))
        if access.key_with_hash(session, hash_of(secret)) is not None:
            return
        owner = None
        if role == "admin":
            owner = BOOTSTRAP_USER
            access.add_once(session, User(name=owner, role="admin", created_at=now))
        key_id = id_in(secret) or secrets.token_hex(8)
        kind = "worker" if role == "worker" else "user"
        key = _row(key_id, hash_of(secret), kind, owner, "bootstrap", now, None)
        key.prefix = None if id_in(secret) is None else key.prefix
        access.add_once(session, key)


def create(engine: Engine, caller: Caller, asked: KeyIn) -> KeyMade:
    """A new key; ApiError 403 for a key of somebody else or of a worker unless by an admin."""
    owner = None if asked.role == "worker" else (asked.user or caller.user)
    if asked.role == "worker" and asked.user is not None:
        raise ApiError(422, "invalid-request", "a worker's key belongs to no user: leave out user")
    if owner != caller.user and not caller.is_admin:
        raise ApiError(403, "forbidden", "only an admin may make keys for workers or other users")
    now = time.time()
    expires_at = None if asked.expires_in_s is None else now + asked.expires_in_s
    with writing(engine) as session:
        if owner is not None and session.get(User, owner) is None:
            raise not_found("user", owner)
        return make(session, asked.role, owner, asked.label, now, _capped(caller, expires_at))


def _capped(caller: Caller, expires_at: float | None) -> float | None:
    """A key that ends cannot make itself a successor that does not, unless it is an admin's."""
    ends = [end for end in (expires_at, caller.key_expires_at) if end is not None]
    if caller.is_admin or not ends:
        return expires_at
    return min(ends)


def make(
    session: Session,
    role: str,
    owner: str | None,
    label: str,
    now: float,
    expires_at: float | None,
) -> KeyMade:
    """A new key in this transaction."""
    key_id = secrets.token_hex(8)
    secret = f"fk_{key_id}_{secrets.token_urlsafe(32)}"
    key = _row(key_id, hash_of(secret), role, owner, label, now, expires_at)
    session.add(key)
    session.flush()
    audit.about(target=key_id, detail=f"key of {owner or role}, label {label!r}")
    return KeyMade(**_out(key).model_dump(), key=secret)


def _row(
    key_id: str,
    digest: str,
    role: str,
    owner: str | None,
    label: str,
    now: float,
    expires_at: float | None,
) -> Key:
    return Key(
        id=key_id,
        hash=digest,
        role=role,
        user=owner,
        label=label,
        prefix=f"fk_{key_id}",
        created_at=now,
        expires_at=expires_at,
    )


def listing(engine: Engine, caller: Caller, user: str | None) -> list[KeyOut]:
    """The caller's keys; an admin's listing is of all keys, or of one user's."""
    if user not in (None, caller.user) and not caller.is_admin:
        raise ApiError(403, "forbidden", "only an admin may see the keys of other users")
    with reading(engine) as session:
        wanted = user if caller.is_admin else caller.user
        return [_out(key) for key in access.keys_of(session, wanted)]


def one(engine: Engine, key_id: str) -> KeyOut:
    """A key by its id."""
    with reading(engine) as session:
        return _out(session.get_one(Key, key_id))


def revoke(engine: Engine, caller: Caller, key_id: str) -> KeyOut:
    """Makes a key invalid at once; harmless if it is already."""
    with writing(engine) as session:
        key = _mine(session, caller, key_id)
        key.revoked_at = key.revoked_at or time.time()
        audit.about(detail=f"key of {key.user or key.role}, label {key.label!r}")
        return _out(key)


def rotate(engine: Engine, caller: Caller, key_id: str, grace_s: int) -> KeyMade:
    """A new key in the place of an old one, which is valid for `grace_s` more seconds.

    The new key ends when the old one would have; ApiError 409 for a key that is not valid.
    """
    now = time.time()
    with writing(engine) as session:
        old = _mine(session, caller, key_id)
        if (state := _state(old, now)) != "valid":
            raise ApiError(409, "conflict", f"key {key_id} is {state}: make a new one")
        ends = _capped(caller, old.expires_at)
        made = make(session, old.role, old.user, old.label, now, ends)
        session.get_one(Key, made.id).client = old.client
        audit.about(target=key_id, detail=f"new key {made.id}")
        if grace_s:
            old.expires_at = min(old.expires_at or now + grace_s, now + grace_s)
        else:
            old.revoked_at = now
        return made


def _mine(session: Session, caller: Caller, key_id: str) -> Key:
    key = session.get(Key, key_id, with_for_update=True)
    if key is None or not (caller.is_admin or (key.user is not None and key.user == caller.user)):
        raise not_found("key", key_id)
    return key


def _state(key: Key, now: float) -> Literal["valid", "expired", "revoked"]:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"


def _out(key: Key) -> KeyOut:
    return KeyOut(
        id=key.id,
        prefix=key.prefix,
        role=key.role,  # type: ignore[arg-type]
        user=key.user,
        client=key.client,
        label=key.label,
        state=_state(key, time.time()),
        created_at=moment(key.created_at),
        last_used_at=moment(key.last_used_at),
        expires_at=moment(key.expires_at),
        revoked_at=moment(key.revoked_at),
    )
