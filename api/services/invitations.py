"""Invitations: a token lets one external client enrol, once, in one project."""

from __future__ import annotations

import secrets
import time
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.client_schemas import InvitationIn, InvitationMade, InvitationOut
from api.db import audit, externals
from api.db.session import reading, writing
from api.db.tables import Invitation, Project
from api.errors import not_found
from api.services import projects
from api.services.callers import Caller
from api.services.keys import hash_of
from api.services.views import moment


def create(engine: Engine, caller: Caller, asked: InvitationIn) -> InvitationMade:
    """A new invitation; ApiError 404 for a project that the caller does not see."""
    project, now = projects.choose(caller, asked.project), time.time()
    invitation_id = secrets.token_hex(8)
    token = f"fi_{invitation_id}_{secrets.token_urlsafe(32)}"
    row = Invitation(
        id=invitation_id,
        hash=hash_of(token),
        project=project,
        labels=dict(asked.labels),
        created_at=now,
        created_by=caller.user,
        expires_at=now + asked.expires_in_s,
    )
    with writing(engine) as session:
        if session.get(Project, project) is None:
            raise not_found("project", project)
        audit.about(target=invitation_id, project=project, detail=f"labels {asked.labels}")
        session.add(row)
    return InvitationMade(**_out(row).model_dump(), token=token)


def listing(engine: Engine, caller: Caller, project: str | None) -> list[InvitationOut]:
    """The invitations of the caller's projects, or of one of them."""
    with reading(engine) as session:
        found = externals.invitations(session, projects.narrowed(caller, project))
        return [_out(row) for row in found]


def revoke(engine: Engine, caller: Caller, invitation_id: str) -> InvitationOut:
    """Makes an invitation invalid; harmless if it is used or revoked already."""
    with writing(engine) as session:
        row = _visible(session, caller, invitation_id)
        audit.about(project=row.project)
        row.revoked_at = row.revoked_at or time.time()
        return _out(row)


def _visible(session: Session, caller: Caller, invitation_id: str) -> Invitation:
    row = session.get(Invitation, invitation_id, with_for_update=True)
    if row is None or not caller.sees(row.project):
        raise not_found("invitation", invitation_id)
    return row


def _out(row: Invitation) -> InvitationOut:
    return InvitationOut(
        id=row.id,
        project=row.project,
        labels=row.labels,
        state=_state(row),
        created_at=moment(row.created_at),
        created_by=row.created_by,
        expires_at=moment(row.expires_at),
        used_at=moment(row.used_at),
        client=row.client,
    )


def _state(row: Invitation) -> Literal["open", "used", "expired", "revoked"]:
    if row.used_at is not None:
        return "used"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at <= time.time() else "open"
