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
    options = queues.Broker("filesystem://", tmp_path).settings()["broker_transport_options"]
    opened = [Connection("filesystem://localhost", transport_options=options) for _ in range(3)]
    yield opened
    for connection in opened:
        connection.release()


def _drain(box: SimpleQueue, found: list[int], until: threading.Event) -> None:
    while True:
        last = until.is_set()
        try:
            message = box.get(block=False)
        except Empty:
            if last:
                return
            continue
        found.append(message.payload["n"])
        message.ack()


def test_filesystem_stands_for_our_transport(connections: list[Connection]) -> None:
    assert isinstance(connections[0].transport, Transport)


def test_readers_that_race_with_a_writer_get_each_message_once(
    connections: list[Connection],
) -> None:
    # all are bound before the race: kombu shares what is bound among a process's threads
    boxes = [SimpleQueue(connection.channel(), "work") for connection in connections]
    found: list[int] = []
    written = threading.Event()
    readers = [threading.Thread(target=_drain, args=(box, found, written)) for box in boxes[1:]]
    for reader in readers:
        reader.start()
    for n in range(300):
        boxes[0].put({"n": n})
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


def test_who_has_just_had_a_message_looks_more_often(connections: list[Connection]) -> None:
    transport = connections[0].transport
    box = SimpleQueue(connections[0].channel(), "busy")

    def looks_every_s() -> float:
        with pytest.raises(TimeoutError):
            connections[0].drain_events(timeout=0.001)
        return float(transport.polling_interval)

    seldom = looks_every_s()
    box.put({"n": 1})
    assert box.get(timeout=10).payload == {"n": 1}
    assert looks_every_s() < seldom / 5
    transport._heard_at -= 60  # a minute goes by
    assert looks_every_s() == seldom
