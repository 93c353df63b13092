"""Hints: they reach their queue, stay few where nobody takes them, and never hold anybody up."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from api import queue
from api.coordinator import ticker
from api.settings import Settings
from tests.api.house import House
from tests.api.process import forget

REDIS = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379/10")
BROKERS = ["filesystem://", pytest.param(REDIS, marks=pytest.mark.services)]

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Use = Callable[..., None]


def redis_server() -> redis.Redis:
    server = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        server.ping()
    except redis.ConnectionError as error:
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail(f"Redis does not answer: {error}")
        pytest.skip(f"Redis does not answer: {error}")
    return server


@pytest.fixture
def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Has the process use a broker, with a prefix; what was left there is removed at the end."""
    prefixes: list[str] = []

    def change(url: str, prefix: str | None = None) -> None:
        if url == REDIS:
            redis_server().close()
        prefixes.append(prefix or f"test-{secrets.token_hex(6)}")
        monkeypatch.setenv("FEDKRSO_BROKER_URL", url)
        monkeypatch.setenv("FEDKRSO_QUEUE_PREFIX", prefixes[-1])
        forget()

    yield change
    if queue.broker().url == REDIS:
        for prefix in prefixes:
            lose_messages(prefix)


def lose_messages(prefix: str) -> None:
    with redis_server() as server:
        for key in server.scan_iter(f"{prefix}:*"):
            server.delete(key)


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest, use: Use) -> str:
    use(request.param)
    return str(request.param)


def waiting() -> tuple[int, int]:
    return queue.waiting(queue.broker().clients), queue.waiting(queue.broker().coordinator)


@pytest.mark.usefixtures("url")
def test_hints_wait_in_the_queue_of_those_they_are_for() -> None:
    assert waiting() == (0, 0)
    queue.hint_training(3)
    queue.hint_advance("job")
    queue.hint_export("job", 2)
    assert waiting() == (3, 2)


@pytest.mark.usefixtures("url")
def test_hints_that_nobody_takes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING", 4)
    for _ in range(5):
        queue.hint_training(9)
        queue.hint_advance("job")
    assert waiting() == (4, 4)


@pytest.mark.usefixtures("url")
def test_hints_of_work_that_wait_already_count() -> None:
    queue.hint_training(2)
    queue.hint_training(5)
    queue.hint_training(3)
    assert waiting() == (5, 0)


@pytest.mark.usefixtures("url")
def test_the_ticker_sends_nothing_while_its_hints_wait(house: House) -> None:
    house.job()
    house.job()
    for _ in range(3):
        ticker.tick()
    assert waiting() == (0, 2)


def test_the_ticker_goes_on_when_the_broker_has_lost_everything(house: House, use: Use) -> None:
    use("filesystem://")
    house.job()
    ticker.tick()
    for message in (house.settings.queue_folder / "messages").iterdir():
        message.unlink()
    assert waiting() == (0, 0)
    ticker.tick()
    assert waiting() == (0, 1)


@pytest.mark.services
def test_two_installations_on_one_redis_do_not_see_each_other(use: Use) -> None:
    first, second = (f"test-{secrets.token_hex(6)}" for _ in range(2))
    use(REDIS, first)
    queue.hint_training(2)
    assert waiting() == (2, 0)
    use(REDIS, second)
    assert waiting() == (0, 0)
    lose_messages(first)


@contextmanager
def broken_broker() -> Iterator[tuple[int, list[int]]]:
    """A port whose server hangs up at once, and the connections it has seen."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                seen.append(1)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_failed_is_left_alone_for_a_while(use: Use, scheme: str) -> None:
    with broken_broker() as (port, seen):
        use(f"{scheme}://127.0.0.1:{port}/0")
        queue.hint_training(2)
        tried = len(seen)
        assert tried > 0
        queue.hint_training(2)
        queue.hint_advance("job")
        assert queue.coordinators_are_behind()
        assert len(seen) == tried
        queue.Away.until = 0.0  # the while is over
        queue.hint_advance("job")
        assert len(seen) > tried


def test_without_a_broker_the_ticker_ticks_on(house: House, use: Use) -> None:
    use("redis://127.0.0.1:1/0")
    house.job()
    ticker.tick()
    ticker.tick()
