"""The broker of plain files: messages are whole, taken once, and stay in the state folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection
from kombu.simple import SimpleQueue

from messaging import queues
from messaging.files import Transport


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[list[Connection]]:
    options = queues.settings("filesystem://", tmp_path)["broker_transport_options"]
    opened = [Connection("filesystem://localhost", transport_options=options) for _ in range(3)]
    yield opened
    for connection in opened:
        connection.release()


def _drain(connection: Connection, found: list[int], until: threading.Event) -> None:
    box = SimpleQueue(connection.channel(), "work")
    while True:
        try:
            message = box.get(block=False)
        except Empty:
            if until.is_set():
                return
            continue
        found.append(message.payload["n"])
        message.ack()


def test_filesystem_stands_for_our_transport(connections: list[Connection]) -> None:
    assert isinstance(connections[0].transport, Transport)


def test_readers_that_race_with_a_writer_get_each_message_once(
    connections: list[Connection],
) -> None:
    found: list[int] = []
    written = threading.Event()
    readers = [
        threading.Thread(target=_drain, args=(connection, found, written))
        for connection in connections[1:]
    ]
    for reader in readers:
        reader.start()
    box = SimpleQueue(connections[0].channel(), "work")
    for n in range(300):
        box.put({"n": n})
    written.set()
    for reader in readers:
        reader.join()
    assert sorted(found) == list(range(300))


def test_nothing_is_left_in_the_folders(connections: list[Connection], tmp_path: Path) -> None:
    box = SimpleQueue(connections[0].channel(), "other")  # kombu binds a name once per process
    box.put({"n": 1})
    assert [p.suffix for p in (tmp_path / "messages").iterdir()] == [".msg"]
    box.get(block=False).ack()
    assert not list((tmp_path / "messages").iterdir())
    assert not list((tmp_path / "taken").iterdir())
