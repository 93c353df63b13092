"""Keeping blobs so that the collector of unused ones never takes one that is needed.

First the blob's row is touched, then the blob is stored, and the transaction that refers to it
locks the row. The collector removes a blob only while it holds the row of one that nothing refers
to and that was not touched for a while. See docs/decisions/0012.
"""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.blobs import Blobs, Part
from api.db import blobs as account
from api.db.session import writing
from api.errors import ApiError


def keep(engine: Engine, blobs: Blobs, part: Part) -> None:
    """Makes a part a blob."""
    with writing(engine) as session:
        account.touch(session, part.digest, part.size, time.time())
    blobs.keep(part)


def put(engine: Engine, blobs: Blobs, data: bytes) -> str:
    """Makes a blob of the bytes; returns its digest."""
    return _kept(engine, blobs, blobs.parts.write(data))


def put_file(engine: Engine, blobs: Blobs, path: Path) -> str:
    """Makes a blob of a finished file in the parts' folder (it is moved); returns its digest."""
    return _kept(engine, blobs, blobs.parts.adopt(path))


def _kept(engine: Engine, blobs: Blobs, part: Part) -> str:
    try:
        keep(engine, blobs, part)
    finally:
        blobs.drop(part)
    return part.digest


def refer(session: Session, digest: str) -> None:
    """To be called in the transaction that refers to a blob: from then on it stays.

    ApiError 503 if storing took so long that the blob was cleared away again: store it anew.
    """
    if not account.hold(session, digest, time.time()):
        detail = f"blob {digest} was cleared away before it was used: send it again"
        raise ApiError(503, "not-ready", detail)
