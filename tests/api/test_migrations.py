from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import func, inspect, select, text

from api.db import migrate
from api.db.session import engine_of, reading
from api.db.tables import Event, Job, Key, Project, Table, User
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


def test_what_an_older_database_holds_gets_an_owner(empty_database: str) -> None:
    with_keys = "0002"
    command.upgrade(migrate.config(empty_database), with_keys)
    with engine_of(empty_database).begin() as connection:
        for name, role in (("a", "user"), ("b", "worker")):
            values = {"id": name, "hash": name * 64, "role": role}
            insert = "INSERT INTO keys (id, hash, role, created_at) VALUES (:id, :hash, :role, 1)"
            connection.execute(text(insert), values)
        columns = "id, name, state, spec, rounds, rounds_closed, data_sha256, created_at, errors"
        values = "'j', 'old', 'done', '{}', 1, 1, '', 1, 0"
        connection.execute(text(f"INSERT INTO jobs ({columns}) VALUES ({values})"))
        connection.execute(
            text(
                "INSERT INTO events (job_id, at, kind, text, data) VALUES ('j', 1, 'k', 't', '{}')"
            )
        )
    migrate.upgrade(empty_database)
    with reading(engine_of(empty_database)) as session:
        job, user = session.get_one(Job, "j"), session.get_one(User, "admin")
        assert (job.project, job.created_by) == ("default", "admin")
        assert (user.role, session.get_one(Key, "a").user) == ("admin", "admin")
        assert session.get_one(Key, "b").user is None
        assert session.get(Project, "default") is not None
        assert session.scalar(select(func.count(Event.id))) == 1
    command.downgrade(migrate.config(empty_database), with_keys)
    with engine_of(empty_database).begin() as connection:
        kept = connection.execute(text("SELECT id, role FROM keys ORDER BY id")).all()
        assert [tuple(row) for row in kept] == [("a", "user"), ("b", "worker")]
        assert connection.scalar(text("SELECT count(*) FROM events")) == 1
    migrate.upgrade(empty_database)


def test_upgrading_twice_changes_nothing(empty_database: str) -> None:
    migrate.upgrade(empty_database)
    migrate.upgrade(empty_database)
    assert tables(empty_database) == set(Table.metadata.tables)
