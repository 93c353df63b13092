"""Whether the service is alive and ready; the only routes without a key."""

from __future__ import annotations

from functools import lru_cache

from fastapi import APIRouter
from sqlalchemy import Engine

from api.blobs import Blobs
from api.deps import BlobStore, Database
from api.errors import ApiError, problem_responses
from api.schemas import HealthOut
from api.services import probes
from fedkrso_core.errors import Problem

router = APIRouter(tags=["health"])


@lru_cache(maxsize=1)
def _readiness(engine: Engine, blobs: Blobs) -> probes.Readiness:
    return probes.readiness(engine, blobs)


@router.get("/healthz")
def healthz() -> HealthOut:
    """The process answers."""
    return HealthOut()


@router.get("/readyz", responses=problem_responses(503))
def readyz(engine: Database, blobs: BlobStore) -> HealthOut:
    """Database, broker and blobs work; 503 names every one that does not."""
    wrong = _readiness(engine, blobs).ask()
    if wrong:
        detail = "; ".join(f"{name}: {reason}" for name, reason in wrong.items())
        problems = tuple(Problem(name, reason) for name, reason in wrong.items())
        raise ApiError(503, "not-ready", detail, problems)
    return HealthOut(checks=dict.fromkeys(("database", "broker", "blobs"), "ok"))
