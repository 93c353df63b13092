"""Reading the audit log, and noting what was refused."""

from __future__ import annotations

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.access_schemas import AuditOut, AuditPage
from api.db import audit
from api.db.audit import Act
from api.db.session import reading, writing
from api.db.tables import Audit
from api.errors import ApiError
from api.services import projects
from api.services.callers import Caller
from api.services.views import moment

_log = logging.getLogger("api.audit")
# refusals that say something about who may do what, or about what was tried in vain
NOTED = (401, 403, 404, 409)


def refused(engine: Engine, act: Act, error: ApiError) -> None:
    """Notes an act that came to nothing; the refusal is answered even if that fails."""
    if act.written or error.status not in NOTED:
        return
    try:
        with writing(engine) as session:
            session.add(act.row(error.kind, error.status))
    except SQLAlchemyError as failure:
        _log.warning("a refusal is not in the audit log: %s", type(failure).__name__)


def page(
    engine: Engine,
    caller: Caller,
    project: str | None,
    user: str | None,
    after: int | None,
    limit: int,
) -> AuditPage:
    """Lines of the log, newest first: an admin's all of them, a member's those of the projects."""
    seen = projects.narrowed(caller, project)
    with reading(engine) as session:
        found = audit.page(session, seen, user, after, limit + 1)
    shown = found[:limit]
    last = shown[-1].id if len(found) > limit else None
    return AuditPage(items=[_out(row) for row in shown], next=last)


def _out(row: Audit) -> AuditOut:
    return AuditOut(
        id=row.id,
        at=moment(row.at),
        user=row.user,
        key=row.key,
        role=row.role,
        action=row.action,
        target=row.target,
        detail=row.detail,
        project=row.project,
        outcome=row.outcome,
        status=row.status,
        address=row.address,
        request=row.request,
    )
