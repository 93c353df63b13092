"""Whether the service is alive and ready; the only routes without a key."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import BlobStore, Database
from api.errors import ApiError, problem_responses
from api.schemas import HealthOut
from api.services import condition
from fedkrso_core.errors import Problem

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> HealthOut:
    """The process answers."""
    return HealthOut()


@router.get("/readyz", responses=problem_responses(503))
def readyz(engine: Database, blobs: BlobStore) -> HealthOut:
    """Database, broker and blobs work; 503 names every one that does not."""
    wrong = condition.readiness(engine, blobs).ask()
    if wrong:
        detail = "; ".join(f"{name}: {reason}" for name, reason in wrong.items())
        problems = tuple(Problem(name, reason) for name, reason in wrong.items())
        raise ApiError(503, "not-ready", detail, problems)
    return HealthOut(checks=dict.fromkeys(condition.PARTS, condition.OK))
