"""External clients: they enrol with an invitation, keep a key of their own, and can be revoked."""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.client_schemas import ClientChange, EnrolIn, Enrolled, ExternalOut, HelloIn
from api.db import audit, externals
from api.db.session import reading, writing
from api.db.tables import External, Invitation, Key
from api.errors import ApiError, not_found
from api.services import external_views, keys, projects
from api.services.callers import Caller


def enrol(engine: Engine, caller: Caller, asked: EnrolIn) -> Enrolled:
    """Exchanges the caller's invitation for a key.

    Until the client has used its key the exchange may be repeated, for an answer may get lost; the
    key of before is revoked then. A client that was revoked may enrol anew under its name.
    ApiError 409 for a used invitation, or a name that another client of the project has.
    """
    now = time.time()
    with writing(engine) as session:
        invitation = session.get_one(Invitation, caller.key, with_for_update=True)
        row = externals.named(session, invitation.project, asked.name)
        _require_unused(session, invitation, row)
        if row is None:
            row = _new(session, invitation, asked.name, now)
        elif row.id != invitation.client and row.revoked_at is None:
            detail = f"project {row.project!r} has a client {asked.name!r} already"
            raise ApiError(409, "conflict", f"{detail}: choose another name, or revoke it first")
        row.labels, row.invitation, row.revoked_at = dict(invitation.labels), invitation.id, None
        row.version, row.hardware = asked.version, asked.hardware.model_dump()
        row.heartbeat_at = None
        invitation.used_at, invitation.client = invitation.used_at or now, row.id
        externals.revoke_keys(session, row.id, now)
        secret = _add_key(session, row, now)
        audit.about(target=row.id, project=row.project, detail=f"client {row.name!r}")
        session.flush()
        return Enrolled(client=external_views.out(session, row), key=secret)


def _require_unused(session: Session, invitation: Invitation, row: External | None) -> None:
    if invitation.used_at is None:
        return
    before = session.get(External, invitation.client)
    again = row is not None and before is not None and row.id == before.id
    if not again or row is None or row.heartbeat_at is not None or row.revoked_at is not None:
        detail = f"invitation {invitation.id} was used: ask for a new one"
        raise ApiError(409, "conflict", detail)


def _new(session: Session, invitation: Invitation, name: str, now: float) -> External:
    row = External(
        id=secrets.token_hex(8),
        name=name,
        project=invitation.project,
        labels={},
        created_at=now,
        invitation=invitation.id,
        hardware={},
    )
    session.add(row)
    return row


def _add_key(session: Session, row: External, now: float) -> str:
    made = keys.make(session, "client", None, row.name, now, None)
    session.get_one(Key, made.id).client = row.id
    return made.key


def hello(engine: Engine, caller: Caller, asked: HelloIn) -> ExternalOut:
    """Notes what the calling client says of itself."""
    with writing(engine) as session:
        row = session.get_one(External, caller.client)
        row.version, row.hardware = asked.version, asked.hardware.model_dump()
        row.heartbeat_at, row.status = time.time(), asked.status
        return external_views.out(session, row)


def own(engine: Engine, caller: Caller) -> ExternalOut:
    """The calling client."""
    with reading(engine) as session:
        return external_views.out(session, session.get_one(External, caller.client))


def rotate(engine: Engine, caller: Caller, grace_s: int) -> Enrolled:
    """A new key for the calling client; the one that it used is valid for `grace_s` seconds."""
    now = time.time()
    with writing(engine) as session:
        row = session.get_one(External, caller.client, with_for_update=True)
        old = session.get_one(Key, caller.key)
        secret = _add_key(session, row, now)
        if grace_s:
            old.expires_at = min(old.expires_at or now + grace_s, now + grace_s)
        else:
            old.revoked_at = now
        audit.about(target=row.id, project=row.project, detail=f"client {row.name!r}")
        session.flush()
        return Enrolled(client=external_views.out(session, row), key=secret)


def listing(engine: Engine, caller: Caller, project: str | None) -> list[ExternalOut]:
    """The external clients of the caller's projects, or of one of them."""
    with reading(engine) as session:
        found = externals.listing(session, projects.narrowed(caller, project))
        return external_views.described(session, found)


def get(engine: Engine, caller: Caller, client_id: str) -> ExternalOut:
    """One external client."""
    with reading(engine) as session:
        return external_views.out(session, visible(session, caller, client_id))


def change(engine: Engine, caller: Caller, client_id: str, asked: ClientChange) -> ExternalOut:
    """Other labels."""
    with writing(engine) as session:
        row = visible(session, caller, client_id)
        audit.about(project=row.project, detail=f"labels {row.labels} -> {asked.labels}")
        row.labels = dict(asked.labels)
        return external_views.out(session, row)


def revoke(engine: Engine, caller: Caller, client_id: str) -> ExternalOut:
    """Makes all keys of a client invalid at once; harmless if they are already."""
    now = time.time()
    with writing(engine) as session:
        row = visible(session, caller, client_id)
        audit.about(project=row.project, detail=f"client {row.name!r}")
        row.revoked_at = row.revoked_at or now
        externals.revoke_keys(session, row.id, now)
        stopped = externals.stop_work(session, row.id, f"client {row.name} was revoked")
        found = external_views.out(session, row)
    for job_id in stopped:
        queue.hint_advance(job_id)
    return found


def visible(session: Session, caller: Caller, client_id: str) -> External:
    """A client of one of the caller's projects; ApiError 404 for any other."""
    row = session.get(External, client_id)
    if row is None or not caller.sees(row.project):
        raise not_found("client", client_id)
    return row
