"""Keeping blobs so that the collector of unused ones never takes one that is needed.

First the blob's row is touched, which gives a fence; then the blob is stored; then the transaction
that refers to it locks the row, if the fence is still the same. The collector changes the fence
before it removes anything, and holds the row while it does. See docs/decisions/0012.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.blobs import Blobs, Part
from api.db import blobs as account
from api.db.session import writing
from api.errors import ApiError


@dataclass(frozen=True)
class Kept:
    """A blob that was stored and waits for somebody to refer to it."""

    digest: str
    fence: str


def keep(engine: Engine, blobs: Blobs, part: Part) -> Kept:
    """Makes a part a blob."""
    with writing(engine) as session:
        fence = account.touch(session, part.digest, part.size, time.time())
    blobs.keep(part)
    return Kept(part.digest, fence)


def put(engine: Engine, blobs: Blobs, data: bytes) -> Kept:
    """Makes a blob of the bytes."""
    return _kept(engine, blobs, blobs.parts.write(data))


def put_file(engine: Engine, blobs: Blobs, path: Path) -> Kept:
    """Makes a blob of a finished file in the parts' folder (it is moved)."""
    return _kept(engine, blobs, blobs.parts.adopt(path))


def _kept(engine: Engine, blobs: Blobs, part: Part) -> Kept:
    try:
        return keep(engine, blobs, part)
    finally:
        blobs.drop(part)


def refer(session: Session, kept: Kept) -> None:
    """To be called in the transaction that refers to a blob: from then on it stays.

    ApiError 503 if the blob waited so long that it was cleared away again: store it anew.
    """
    if not account.hold(session, kept.digest, kept.fence, time.time()):
        detail = f"blob {kept.digest} was cleared away before it was used: send it again"
        raise ApiError(503, "not-ready", detail)
