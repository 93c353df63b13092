"""Fresh migrated databases: made once from the revisions, then copied or emptied for each test."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, insert, text
from sqlalchemy.exc import OperationalError

from api.db import migrate
from api.db.session import engine_of
from api.db.tables import Project, Table

SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432"


def migrated(url: str) -> str:
    migrate.upgrade(url)
    engine_of(url).dispose()
    return url


def emptied(url: str) -> str:
    """The database as the revisions leave it, with one project; far quicker than a new one."""
    with engine_of(url).begin() as connection:
        for table in reversed(Table.metadata.sorted_tables):
            connection.execute(delete(table))
        connection.execute(insert(Project).values(name="default", created_at=0.0))
    engine_of(url).dispose()
    return url


def copy_of_sqlite(source: Path, target: Path) -> str:
    shutil.copyfile(source, target)
    return f"sqlite:///{target}"


@contextmanager
def postgres() -> Iterator[str]:
    """A new database of the local server, dropped afterwards."""
    name = f"fedkrso_test_{secrets.token_hex(6)}"
    _run(f"CREATE DATABASE {name}")
    url = f"{SERVER}/{name}"
    try:
        yield url
    finally:
        engine_of(url).dispose()
        _run(f"DROP DATABASE {name} WITH (FORCE)")


def require_postgres() -> None:
    try:
        _run("SELECT 1")
    except OperationalError:
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail("PostgreSQL does not answer at 127.0.0.1:5432")
        pytest.skip("PostgreSQL does not answer at 127.0.0.1:5432")


def _run(statement: str) -> None:
    engine = create_engine(f"{SERVER}/postgres", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
