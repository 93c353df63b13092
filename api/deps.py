"""What routes are given: the database, the blobs and the settings. Who calls is in guard.py."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Header
from fastapi.security import HTTPBearer
from sqlalchemy import Engine

from api.blobs import Blobs, blobs_of
from api.db.session import engine_of
from api.settings import Settings, settings

bearer = HTTPBearer(auto_error=False, description="An API key of the service")


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
