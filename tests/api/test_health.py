from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.db.session import engine_of, writing
from api.services import probes
from api.services.probes import NotReady, Readiness
from api.settings import Settings
from messaging import queues
from messaging.depth import probe
from tests.api.house import House


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is asked anew."""
    monkeypatch.setattr(probes, "KEPT_S", 0.0)


def wrong(client: TestClient) -> dict[str, str]:
    answer = client.get("/readyz")
    assert answer.status_code == 503, answer.text
    assert answer.json()["type"] == "urn:fedkrso:problem:not-ready"
    assert client.get("/healthz").status_code == 200
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_a_service_whose_parts_work_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == {
        "status": "ok",
        "checks": {"database": "ok", "broker": "ok", "blobs": "ok"},
    }


def test_a_database_that_was_not_migrated_is_named(client: TestClient, settings: Settings) -> None:
    head = probes._newest()
    with writing(engine_of(settings.database)) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        assert wrong(client) == {"database": f"revision 0001, this version needs {head}"}
    finally:
        with writing(engine_of(settings.database)) as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{head}'"))
    assert client.get("/readyz").status_code == 200


def test_everything_that_fails_is_named(client: TestClient, settings: Settings) -> None:
    assert client.get("/readyz").status_code == 200
    shutil.rmtree(settings.blob_folder)
    shutil.rmtree(settings.queue_folder)
    assert set(wrong(client)) == {"broker", "blobs"}
    assert "blobs: FileNotFoundError" in client.get("/readyz").json()["detail"]


def test_a_probe_leaves_nothing_behind(client: TestClient, settings: Settings) -> None:
    for _ in range(3):
        assert client.get("/readyz").status_code == 200
    folders = (settings.blob_folder, settings.queue_folder / "messages")
    assert [f for folder in folders for f in folder.rglob("*") if f.is_file()] == []


def test_a_check_that_hangs_is_not_waited_for_and_not_started_twice() -> None:
    stop, calls = threading.Event(), []

    def hang() -> None:
        calls.append(1)
        stop.wait(60)

    asked = Readiness({"broker": hang, "blobs": lambda: None}, limit_s=0.1)
    for _ in range(3):
        assert list(asked.ask()) == ["broker"]
    assert asked.ask()["broker"].startswith("no answer for ")
    assert len(calls) == 1
    stop.set()
    deadline = time.monotonic() + 30
    while asked.ask() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asked.ask() == {}


def test_an_answer_is_kept_for_all_who_ask_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "KEPT_S", 60.0)
    calls: list[int] = []
    asked = Readiness({"blobs": lambda: calls.append(1)})
    assert [asked.ask() for _ in range(100)] == [{}] * 100
    assert len(calls) == 1


def test_the_reason_is_told_without_what_a_library_says() -> None:
    def leak() -> None:
        raise OSError("cannot reach redis://:hunter2@cache")

    def explain() -> None:
        raise NotReady("the folder is read-only")

    answer = Readiness({"broker": leak, "blobs": explain}).ask()
    assert answer == {"broker": "OSError", "blobs": "the folder is read-only"}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://guest:guest@127.0.0.1:{}//"])
def test_a_broker_that_says_nothing_is_not_waited_for(
    silent_port: int, url: str, tmp_path: Path
) -> None:
    app = Celery("silent", set_as_current=False)
    app.conf.update(queues.Broker(url.format(silent_port), tmp_path).settings())
    asked = Readiness({"broker": lambda: probe(app), "blobs": lambda: None}, limit_s=0.3)
    assert asked.ask()["broker"].startswith("no answer for ")
    app.close()


def test_a_database_that_says_nothing_is_not_waited_for(silent_port: int) -> None:
    engine = engine_of(f"postgresql+psycopg://nobody@127.0.0.1:{silent_port}/none")
    asked = Readiness({"database": lambda: probes.check_database(engine)}, limit_s=0.3)
    assert asked.ask()["database"].startswith("no answer for ")


def test_admins_see_parts_queue_workers_and_jobs(client: TestClient, house: House) -> None:
    house.open_job(clients=2)
    seat, other = house.claim("gpu-1"), house.claim("gpu-2")
    house.hand_in(seat)
    shown = client.get("/v1/service").json()
    assert set(shown["checks"].values()) == {"ok"}
    assert set(shown["queues"]) == {"clients", "coordinator"}
    assert shown["jobs"]["running"] == 1
    assert {one["name"]: one["busy"] for one in shown["workers"]} == {
        "gpu-1": False,
        "gpu-2": True,
    }
    assert other.client == 1


def test_admins_see_which_part_does_not_work(client: TestClient, settings: Settings) -> None:
    assert client.get("/v1/service").json()["checks"]["broker"] == "ok"
    shutil.rmtree(settings.queue_folder)
    shown = client.get("/v1/service").json()
    assert shown["checks"]["broker"] != "ok"
    assert (shown["checks"]["database"], shown["queues"]) == ("ok", {})
