"""How the service is, for its admins; `/readyz` says to anybody whether it works."""

from __future__ import annotations

from api import guard
from api.deps import BlobStore, Database
from api.schemas import ServiceOut
from api.services import condition

router = guard.router("/v1/service", "service", guard.ForAdmins)


@router.get("")
def service(engine: Database, blobs: BlobStore) -> ServiceOut:
    """Database, broker and blobs, what waits in the queue, the workers of the last hour, jobs."""
    return condition.condition(engine, blobs)
