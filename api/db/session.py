"""Engines and transactions: one request or task is one transaction, committed at its edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session

# beside those that are kept: none of the web server's 40 threads ever waits for another's
_OVERFLOW = 40


@lru_cache
def engine_of(url: str) -> Engine:
    """The engine of a database, one per process."""
    if url.startswith("sqlite"):
        arguments = {"timeout": 30, "check_same_thread": False}
        engine = create_engine(url, connect_args=arguments, max_overflow=_OVERFLOW)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=_OVERFLOW)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once: a lock upgraded half-way cannot wait, it fails."""
    reads = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that commits at the end of the block, or rolls back on an error."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that writes nothing."""
    with Session(engine.execution_options(reads_only=True), expire_on_commit=False) as session:
        yield session
