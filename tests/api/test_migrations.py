from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect

from api.db import migrate
from api.db.session import engine_of
from api.db.tables import Table
from tests.api import databases


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.db'}"
        yield url
        engine_of(url).dispose()
        return
    databases.require_postgres()
    with databases.postgres() as url:
        yield url


def tables(url: str) -> set[str]:
    return set(inspect(engine_of(url)).get_table_names()) - {"alembic_version"}


def test_the_revisions_make_every_table_from_nothing(empty_database: str) -> None:
    migrate.upgrade(empty_database)
    assert tables(empty_database) == set(Table.metadata.tables)


def test_the_revisions_make_what_the_code_declares(empty_database: str) -> None:
    migrate.upgrade(empty_database)
    command.check(migrate.config(empty_database))


def test_going_down_takes_every_table_away_and_up_brings_them_back(empty_database: str) -> None:
    migrate.upgrade(empty_database)
    command.downgrade(migrate.config(empty_database), "base")
    assert tables(empty_database) == set()
    migrate.upgrade(empty_database)
    assert tables(empty_database) == set(Table.metadata.tables)


def test_upgrading_twice_changes_nothing(empty_database: str) -> None:
    migrate.upgrade(empty_database)
    migrate.upgrade(empty_database)
    assert tables(empty_database) == set(Table.metadata.tables)
