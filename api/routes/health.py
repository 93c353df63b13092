"""Whether the service is alive and ready; the only routes without a key."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.db.session import reading
from api.deps import BlobStore, Database
from api.errors import ApiError, problem_responses
from api.schemas import HealthOut

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> HealthOut:
    """The process answers."""
    return HealthOut()


@router.get("/readyz", responses=problem_responses(503))
def readyz(engine: Database, blobs: BlobStore) -> HealthOut:
    """Database and blobs answer; 503 names what does not."""
    try:
        with reading(engine) as session:
            session.execute(text("SELECT 1 FROM jobs WHERE 1 = 0"))
    except SQLAlchemyError as error:
        raise ApiError(503, "not-ready", f"database: {type(error).__name__}") from None
    try:
        blobs.check()
    except OSError as error:
        raise ApiError(503, "not-ready", f"blobs: {error.strerror or error}") from None
    return HealthOut(checks={"database": "ok", "blobs": "ok"})
