"""Engines and transactions: one request or task is one transaction, committed at its edge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session

from api.db import audit

# a server that vanished without a word is noticed within half a minute; the URL may say otherwise
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
}
_PATIENCE_S = 30
# beside those that are kept: none of the web server's 40 threads ever waits for another's
_OVERFLOW = 40


@lru_cache
def engine_of(url: str) -> Engine:
    """The engine of a database, one per process."""
    if url.startswith("sqlite"):
        given = {"timeout": _PATIENCE_S, "check_same_thread": False}
        engine = create_engine(
            url, connect_args=given, max_overflow=_OVERFLOW, hide_parameters=True
        )
        event.listen(engine, "do_connect", _only_existing)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # what stands in the rows is nothing for a log: parameters are left out of error messages
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=_OVERFLOW,
        connect_args=_PATIENCE,
        hide_parameters=True,
    )


def _only_existing(_dialect: Any, _record: Any, args: list[Any], given: dict[str, Any]) -> None:
    """A file that is gone is an outage: migrations alone make one, nobody goes on with an empty."""
    if args and os.path.isabs(args[0]):  # neither in memory nor a URI of SQLite's own
        args[0] = f"{Path(args[0]).as_uri()}?mode=rw"
        given["uri"] = True


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once: a lock upgraded half-way cannot wait, it fails."""
    options = connection.get_execution_options()
    if options.get("reads_only", False):
        connection.exec_driver_sql("BEGIN")
        return
    patience_s = options.get("patience_s") or _PATIENCE_S
    try:
        if patience_s != _PATIENCE_S:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(patience_s * 1000)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        if patience_s != _PATIENCE_S:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(_PATIENCE_S * 1000)}")


@contextmanager
def writing(engine: Engine, patience_s: float | None = None) -> Iterator[Session]:
    """A transaction that commits at the end of the block, or rolls back on an error.

    Where a request acts, the note of who did what is part of its first transaction. With
    `patience_s` it waits no longer than that for a lock.
    """
    if patience_s is not None:
        engine = engine.execution_options(patience_s=patience_s)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        if patience_s is not None and engine.dialect.name == "postgresql":
            session.execute(text(f"SET LOCAL lock_timeout = {int(patience_s * 1000)}"))
        yield session
        audit.join(session)
    audit.joined()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that writes nothing."""
    with Session(engine.execution_options(reads_only=True), expire_on_commit=False) as session:
        yield session
