"""What routes are given: the database, the blobs, and a caller whose key was checked."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Header, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine

from api.blobs import Blobs, blobs_of
from api.db.session import engine_of
from api.errors import ApiError
from api.services import keys
from api.settings import Settings, settings

_bearer = HTTPBearer(auto_error=False, description="An API key of the service")


def database() -> Engine:
    """The service's database."""
    return engine_of(settings().database)


@lru_cache
def blob_store() -> Blobs:
    """The service's blobs."""
    return blobs_of(settings())


Database = Annotated[Engine, Depends(database)]
BlobStore = Annotated[Blobs, Depends(blob_store)]
Config = Annotated[Settings, Depends(settings)]
LeaseToken = Annotated[str, Header(alias="X-Lease-Token", description="From the claim")]


def caller_role(
    engine: Database, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> str:
    """The role of the caller's key; 401 without a valid one."""
    if given is None:
        raise ApiError(401, "unauthorized", "send the header Authorization: Bearer KEY")
    return keys.role_of(engine, given.credentials)


def require_user(role: Annotated[str, Depends(caller_role)]) -> None:
    """403 for a key that is only for workers."""
    if role != "user":
        raise ApiError(403, "forbidden", f"a key of role {role!r} is for training clients only")


def require_worker(role: Annotated[str, Depends(caller_role)]) -> None:
    """403 for a key that is not for workers."""
    if role != "worker":
        raise ApiError(403, "forbidden", f"a key of role {role!r} is not for training clients")
