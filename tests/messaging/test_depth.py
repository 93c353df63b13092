"""How many messages wait, by each broker; a probe that leaves none behind."""

from __future__ import annotations

import os
import socket
import time
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


def app_of(broker: queues.Broker) -> Celery:
    made = Celery("depth", set_as_current=False)
    made.conf.update(broker.settings())
    return made


@pytest.fixture(
    params=["filesystem", *(pytest.param(name, marks=pytest.mark.services) for name in BROKERS)]
)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> queues.Broker:
    return queues.Broker(BROKERS.get(request.param, "filesystem://"), tmp_path, "depth-test")


@pytest.fixture
def app(broker: queues.Broker) -> Iterator[Celery]:
    """An application whose queues are empty before and after."""
    made = app_of(broker)
    try:
        empty(made, broker)
    except OperationalError as error:
        message = f"{broker.url} does not answer: {error}"
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    yield made
    empty(made, broker)
    made.close()


def empty(app: Celery, broker: queues.Broker) -> None:
    with app.connection_for_write(connect_timeout=3) as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        with connection.channel() as channel:
            for purpose in QUEUES:
                app.amqp.queues[getattr(broker, purpose)].bind(channel).declare()
                channel.queue_purge(getattr(broker, purpose))


def waiting(app: Celery, broker: queues.Broker, expected: dict[str, int]) -> dict[str, int]:
    """The counts, once they are as expected or a minute on: RabbitMQ takes messages in later."""
    until = time.monotonic() + 60
    while (found := depths(app, broker)) != expected and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_messages_that_wait_are_counted_by_queue(app: Celery, broker: queues.Broker) -> None:
    assert depths(app, broker) == {"clients": 0, "coordinator": 0}
    for _ in range(3):
        app.send_task(queues.TRAIN_TASK)
    app.send_task(queues.ADVANCE_TASK, args=["j1"])
    sent = {"clients": 3, "coordinator": 1}
    assert waiting(app, broker, sent) == sent


def test_a_probe_leaves_the_queues_as_they_were(app: Celery, broker: queues.Broker) -> None:
    app.send_task(queues.TRAIN_TASK)
    for _ in range(3):
        probe(app)
    sent = {"clients": 1, "coordinator": 0}
    assert waiting(app, broker, sent) == sent


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_fails_the_probe(scheme: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}/"
        app = app_of(queues.Broker(url, tmp_path))
        with pytest.raises(app.connection_for_write().connection_errors):
            probe(app)
        app.close()
