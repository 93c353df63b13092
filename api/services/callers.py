"""Who calls: from the key that was sent to what its owner may see and do."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.db import access, externals
from api.db.session import reading, writing
from api.db.tables import External, Invitation, Job, Key, User
from api.errors import ApiError, not_found
from api.services.keys import hash_of, id_in, same

CallerRole = Literal["admin", "operator", "viewer", "worker", "client", "invitation"]
RANK: dict[str, int] = {"viewer": 1, "operator": 2, "admin": 3}
# beside the users' roles: who trains, with the service's data or with their own, and who may enrol
APART: dict[str, tuple[str, ...]] = {
    "worker": ("worker", "client"),
    "client": ("client",),
    "invitation": ("invitation",),
}
_NOTE_EVERY_S = 60.0
_HEARTBEAT_EVERY_S = 10.0
# a key's last use is not worth waiting for a lock
_PATIENCE_S = 0.2
_noted: dict[str, float] = {}
_WORDS = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_TOKEN = re.compile(r"fi_([0-9a-f]{16})_[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Caller:
    """Who a request is from."""

    key: str  # the id of the key, or of the invitation
    role: CallerRole
    user: str | None = None
    projects: frozenset[str] | None = None  # None: all
    key_expires_at: float | None = None
    client: str | None = None  # an external client's id
    quarantined: str | None = None  # its last offence, if that was one too many

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed, in all projects."""
        return self.role == "admin"

    def sees(self, project: str) -> bool:
        """Whether jobs of this project exist for the caller."""
        return self.projects is None or project in self.projects

    def reaches(self, least: str) -> bool:
        """Whether the caller's role is this one or above it; those of clients stand apart."""
        if least in APART:
            return self.role in APART[least]
        return RANK.get(self.role, 0) >= RANK[least]


def authenticate(engine: Engine, authorization: str | None) -> Caller:
    """The caller by the request's Authorization header; ApiError 401 without a valid key."""
    found = _WORDS.fullmatch((authorization or "").strip())
    if found is None:
        raise ApiError(401, "unauthorized", "send the header Authorization: Bearer KEY")
    secret, now = found[1], time.time()
    with reading(engine) as session:
        if secret.startswith("fi_"):
            return _invited(session, secret, now)
        key = _valid_key(session, secret, now)
        caller = _caller(session, key)
    if now - max(key.last_used_at or 0.0, _noted.get(key.id, 0.0)) >= _pause_s(caller):
        _note_use(engine, key.id, caller.client, now)
    return caller


def _pause_s(caller: Caller) -> float:
    return _NOTE_EVERY_S if caller.client is None else _HEARTBEAT_EVERY_S


def _invited(session: Session, token: str, now: float) -> Caller:
    """Whoever has the token of an invitation may enrol, and nothing else."""
    found = _TOKEN.fullmatch(token)
    row = session.get(Invitation, found[1]) if found else None
    if row is None or not same(token, row.hash) or row.revoked_at is not None:
        raise ApiError(401, "unauthorized", "the invitation is unknown or revoked")
    if row.expires_at <= now:
        raise ApiError(401, "unauthorized", f"the invitation {row.id} has expired")
    return Caller(row.id, "invitation", projects=frozenset())


def _valid_key(session: Session, secret: str, now: float) -> Key:
    known_id = id_in(secret)
    if known_id is not None:
        key = session.get(Key, known_id)
    else:  # a key that was made elsewhere, or before keys had their id in them
        key = access.key_with_hash(session, hash_of(secret))
    if key is None or not same(secret, key.hash) or key.revoked_at is not None:
        raise ApiError(401, "unauthorized", "the API key is unknown or revoked")
    if key.expires_at is not None and key.expires_at <= now:
        raise ApiError(401, "unauthorized", f"the API key {key.id} has expired")
    return key


def _caller(session: Session, key: Key) -> Caller:
    if key.role == "worker":
        return Caller(key.id, "worker", projects=frozenset(), key_expires_at=key.expires_at)
    if key.role == "client":
        return _client(session, key)
    user = session.get(User, key.user) if key.user is not None else None
    if user is None or user.disabled_at is not None:
        raise ApiError(401, "unauthorized", "the user of this API key is disabled")
    seen = None if user.role == "admin" else access.projects_of(session, user.name)
    return Caller(key.id, user.role, user.name, seen, key.expires_at)  # type: ignore[arg-type]


def _client(session: Session, key: Key) -> Caller:
    row = session.get(External, key.client)
    if row is None or row.revoked_at is not None:
        raise ApiError(401, "unauthorized", "the client of this API key is revoked")
    seen = frozenset({row.project})
    out = row.offence if row.quarantined_at is not None else None
    return Caller(key.id, "client", None, seen, key.expires_at, row.id, out)


def _note_use(engine: Engine, key_id: str, client: str | None, now: float) -> None:
    """Notes a key's use; a database that is busy or full costs the note, not the request."""
    _noted[key_id] = now
    try:
        with writing(engine, patience_s=_PATIENCE_S) as session:
            access.note_use(session, key_id, now)
            if client is not None:
                externals.note_heartbeat(session, client, now)
    except SQLAlchemyError:
        pass


def require_job(engine: Engine, caller: Caller, job_id: str) -> str:
    """The project of a job that the caller sees; 404 for any other job, as if it did not exist."""
    with reading(engine) as session:
        return visible_job(session, caller, job_id).project


def require_assignment(engine: Engine, client: str, assignment_id: str) -> None:
    """404 unless the assignment is that of a place which the external client has."""
    with reading(engine) as session:
        if not externals.holds(session, client, assignment_id):
            raise not_found("assignment", assignment_id)


def visible_job(session: Session, caller: Caller, job_id: str) -> Job:
    """A job that the caller sees; 404 for any other."""
    job = session.get(Job, job_id)
    if job is None or not caller.sees(job.project):
        raise not_found("job", job_id)
    return job


def still_sees(engine: Engine, caller: Caller, job_id: str) -> bool:
    """Whether a stream may go on: the key is valid and the job in one of its owner's projects."""
    with reading(engine) as session:
        key, job = session.get(Key, caller.key), session.get(Job, job_id)
        if key is None or key.revoked_at is not None or job is None:
            return False
        if key.expires_at is not None and key.expires_at <= time.time():
            return False
        try:
            return _caller(session, key).sees(job.project)
        except ApiError:
            return False
