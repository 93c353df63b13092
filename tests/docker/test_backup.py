"""The commands that docs/deploy.md gives for backups, run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from api.db.session import engine_of
from api.settings import Settings
from tests.api.house import House

DEPLOY = (Path(__file__).parents[2] / "docs/deploy.md").read_text()


def command(*words: str) -> str:
    """The one block of shell commands of the page with these words in it."""
    blocks = re.findall(r"```sh\n(.*?)```", DEPLOY, re.DOTALL)
    (found,) = [block for block in blocks if all(word in block for word in words)]
    return found


def run(block: str, folder: Path, **environ: str) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", block], cwd=folder, env=os.environ | environ, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def need(program: str) -> None:
    if shutil.which(program) is None:
        message = f"{program} is not installed"
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)


def content(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            table: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {table}"))), key=repr)
            for table in ("jobs", "rounds", "assignments", "events", "alembic_version")
        }


def go_on(house: House, job_id: str) -> None:
    """A restored service works: the job is trained to its end."""
    house.advance(job_id)
    house.finish_round(job_id)
    house.advance(job_id)
    assert house.get(job_id).state == "done"


@pytest.mark.services
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_is_restored_as_it_was(house: House, settings: Settings, tmp_path: Path) -> None:
    for program in ("pg_dump", "pg_restore"):
        need(program)
    where = settings.database.replace("postgresql+psycopg://", "postgresql://")
    job_id = house.open_job(rounds=1)
    before = content(house.engine)
    run(command("pg_dump"), tmp_path, PG_URL=where)
    go_on(house, job_id)  # what happens after the backup is lost, and nothing else
    assert content(house.engine) != before
    engine_of(settings.database).dispose()
    run(command("pg_restore"), tmp_path, PG_URL=where)
    assert content(house.engine) == before
    go_on(house, job_id)


@pytest.mark.services
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_is_copied_while_it_is_written(
    house: House, settings: Settings, tmp_path: Path
) -> None:
    need("sqlite3")
    home = settings.home
    shutil.copy(settings.database.removeprefix("sqlite:///"), home / "fedkrso.db")
    house.settings.database_url = f"sqlite:///{home / 'fedkrso.db'}"
    house.engine = engine_of(house.settings.database)
    house.store.engine = house.engine
    job_id = house.open_job(rounds=1)
    before = content(house.engine)
    assert (home / "fedkrso.db-wal").stat().st_size > 0
    run(command(".backup"), tmp_path, FEDKRSO_HOME=str(home))
    go_on(house, job_id)
    house.engine.dispose()
    run(command("fedkrso.db.copy", "-wal"), tmp_path, FEDKRSO_HOME=str(home))
    assert content(house.engine) == before
    go_on(house, job_id)
    house.engine.dispose()
