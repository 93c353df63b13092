"""API keys: random, shown once, kept as SHA-256 (they have 256 bits, so no slow hash is needed)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from sqlalchemy import Engine, select

from api.db.session import reading, writing
from api.db.tables import Key
from api.errors import ApiError


def hash_of(secret: str) -> str:
    """SHA-256 of a key or token, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(secret: str, stored_hash: str | None) -> bool:
    """Whether a secret has the stored hash, compared in constant time."""
    return stored_hash is not None and hmac.compare_digest(hash_of(secret), stored_hash)


def store(engine: Engine, secret: str, role: str) -> None:
    """Keeps the hash of a key that was made elsewhere; harmless if it is known."""
    with writing(engine) as session:
        if session.scalar(select(Key).where(Key.hash == hash_of(secret))) is None:
            session.add(
                Key(
                    id=secrets.token_hex(8),
                    hash=hash_of(secret),
                    role=role,
                    created_at=time.time(),
                    revoked_at=None,
                )
            )


def role_of(engine: Engine, secret: str) -> str:
    """The role of a key; ApiError 401 if it is unknown or revoked."""
    with reading(engine) as session:
        key = session.scalar(select(Key).where(Key.hash == hash_of(secret)))
    if key is None or key.revoked_at is not None or not same(secret, key.hash):
        raise ApiError(401, "unauthorized", "the API key is unknown or revoked")
    return key.role
