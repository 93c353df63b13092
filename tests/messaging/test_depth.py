"""How many messages wait, by each broker; a probe that leaves none behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from messaging import queues
from messaging.depth import QUEUES, depths, probe

BROKERS = {
    "redis": os.environ.get("TEST_REDIS_DEPTH", "redis://127.0.0.1:6379/13"),
    "rabbitmq": os.environ.get("TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
}


def app_of(url: str, folder: Path) -> Celery:
    made = Celery("depth", set_as_current=False)
    made.conf.update(queues.settings(url, folder))
    return made


@pytest.fixture(
    params=["filesystem", *(pytest.param(name, marks=pytest.mark.services) for name in BROKERS)]
)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celery]:
    """An application whose queues are empty before and after."""
    made = app_of(BROKERS.get(request.param, "filesystem://"), tmp_path)
    try:
        empty(made)
    except OperationalError as error:
        message = f"{request.param} does not answer: {error}"
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    yield made
    empty(made)
    made.close()


def empty(app: Celery) -> None:
    with app.connection_for_write(connect_timeout=3) as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        for name in QUEUES:
            connection.SimpleQueue(name).clear()


def test_messages_that_wait_are_counted_by_queue(app: Celery) -> None:
    assert depths(app) == {"clients": 0, "coordinator": 0}
    for _ in range(3):
        app.send_task(queues.TRAIN_TASK)
    app.send_task(queues.ADVANCE_TASK, args=["j1"])
    assert depths(app) == {"clients": 3, "coordinator": 1}


def test_a_probe_leaves_the_queues_as_they_were(app: Celery) -> None:
    app.send_task(queues.TRAIN_TASK)
    for _ in range(3):
        probe(app)
    assert depths(app) == {"clients": 1, "coordinator": 0}


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_fails_the_probe(scheme: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        app = app_of(f"{scheme}://127.0.0.1:{taken.getsockname()[1]}/", tmp_path)
        with pytest.raises(app.connection_for_write().connection_errors):
            probe(app)
        app.close()
