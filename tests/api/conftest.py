"""Both databases, the settings and caches of one process, the HTTP client, a tiny real job."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api import settings as settings_module
from api.db.session import engine_of
from api.settings import Settings
from tests.api import bucket, databases
from tests.api.exchange import USER_KEY, WORKER_KEY, as_user
from tests.api.house import House
from tests.api.process import forget
from tests.api.tiny import write_model, write_rows

Json = dict[str, Any]
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    databases.migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    databases.require_postgres()
    with databases.postgres() as url:
        yield databases.migrated(url)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with bucket.s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without a row in it."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        return databases.copy_of_sqlite(template, tmp_path / "test.db")
    return databases.emptied(request.getfixturevalue("postgres_database"))


@pytest.fixture
def settings(
    database_url: str, tmp_path: Path, dataset_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The process's settings, made anew, with everything under a folder of the test."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(dataset_cache)
    given = {
        "HOME": str(home),
        "DATABASE_URL": database_url,
        "BROKER_URL": "filesystem://",
        "BOOTSTRAP_API_KEY": USER_KEY,
        "BOOTSTRAP_WORKER_KEY": WORKER_KEY,
        "THREADS": "1",
        "DEVICE": "cpu",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"FEDKRSO_{name}", value)
    forget()
    yield settings_module.settings()
    forget()


@pytest.fixture
def blobs_in_s3(
    s3_endpoint: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The process's blobs are in S3."""
    name = bucket.new_bucket(s3_endpoint, monkeypatch)
    monkeypatch.setenv("FEDKRSO_BLOB_URL", f"s3://{name}/fedkrso")
    forget()
    yield
    forget()


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return engine_of(settings.database)


@pytest.fixture
def house(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(settings, engine, monkeypatch)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The service as a user's program sees it."""
    from api.main import app

    with TestClient(app, headers=as_user(), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The service on a free port."""
    import uvicorn

    from api.main import app

    # worker and coordinator take turns here: a round never opens while a worker waits for it
    monkeypatch.setattr("worker.client.LINGER_S", 0.0)
    made = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=made.run)
    thread.start()
    while not made.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = made.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    made.should_exit = True
    thread.join()


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, headers=as_user()) as made:
        yield made


@pytest.fixture
def worker(server: str, tmp_path: Path) -> Iterator[Any]:
    from worker.api import Api
    from worker.client import ClientProcess

    api = Api(server, WORKER_KEY, give_up_s=5)
    yield ClientProcess(api, tmp_path / "worker")
    api.close()


@pytest.fixture(scope="session")
def dataset_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real model of a few thousand weights and rows to fine-tune it on."""
    folder = tmp_path_factory.mktemp("tiny")
    write_model(folder / "model")
    write_rows(folder / "rows.jsonl")
    # each measurement of memory collects garbage first: quicker without what stays anyway
    gc.freeze()
    return folder


@pytest.fixture
def tiny_job(tiny_files: Path) -> Callable[..., Json]:
    """The body of a job that runs in a second; arguments replace its fields."""

    def make(**changed: Any) -> Json:
        job = {
            "name": "tiny",
            "model": str(tiny_files / "model"),
            "data": {"train": str(tiny_files / "rows.jsonl")},
            "partition": {"kind": "iid"},
            "clients": {"count": 3, "per_round": 2},
            "rounds": 2,
            "local": {"steps": 4, "batch_size": 4, "max_length": 8, "lr": 0.01},
            "method": {"name": "fedkrso", "rank": 2, "seeds": 3, "interval": 2},
        }
        return json.loads(json.dumps(job | changed))

    return make
