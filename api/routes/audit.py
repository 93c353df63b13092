"""The audit log: who did what, when and from where."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api import guard
from api.access_schemas import AuditPage
from api.deps import Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.schemas import Int32
from api.services import audit

router = guard.router("/v1/audit", "audit", guard.ForEverybody)
Name = Annotated[str | None, Query(max_length=64)]


@router.get("", responses=problem_responses(404))
def read_audit(
    engine: Database,
    caller: CallerOf,
    project: Name = None,
    user: Name = None,
    after: Int32 | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> AuditPage:
    """What was done in the caller's projects; for an admin everything, newest first."""
    return audit.page(engine, caller, project, user, after, limit)
