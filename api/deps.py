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


# async: what takes no time is no reason to change to another thread, which every plain function is
async def _database() -> Engine:
    return database()


async def _blob_store() -> Blobs:
    return blob_store()


async def _settings() -> Settings:
    return settings()


Database = Annotated[Engine, Depends(_database)]
BlobStore = Annotated[Blobs, Depends(_blob_store)]
Config = Annotated[Settings, Depends(_settings)]
LeaseToken = Annotated[str, Header(alias="X-Lease-Token", description="From the claim")]
