"""Runs the revisions against the database that `api.db.migrate` was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import context
from sqlalchemy import Connection, make_url

from api.db.session import engine_of
from api.db.tables import Table


@contextmanager
def _tables_may_be_replaced(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by replacing it, which rows that point to it would forbid."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys=OFF")  # before a transaction begins: in one it does nothing
    try:
        yield
        broken = driver.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        driver.execute("PRAGMA foreign_keys=ON")
    if broken:
        raise RuntimeError(f"the migration broke references between tables: {broken[:5]}")


def _made(url: str) -> str:
    """An empty file where SQLite's is to be: the service itself opens only what is there."""
    parts = make_url(url)
    named = parts.database if parts.get_backend_name() == "sqlite" else None
    if named and named != ":memory:" and not named.startswith("file:"):
        with suppress(OSError):  # opening it says what is wrong
            Path(named).touch()
    return url


def run() -> None:
    """Online only: there is always a database to talk to."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    url = _made(url)
    with engine_of(url).connect() as connection, _tables_may_be_replaced(connection):
        context.configure(
            connection=connection,
            target_metadata=Table.metadata,
            render_as_batch=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
