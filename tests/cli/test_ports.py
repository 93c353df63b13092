from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cli.errors import CliError
from cli.ports import choose, reachable


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_free_port_is_taken_as_wanted() -> None:
    free = choose("127.0.0.1", 0)
    assert choose("127.0.0.1", free) == free


def test_a_taken_port_gives_way_to_a_later_one(taken: int) -> None:
    assert taken < choose("127.0.0.1", taken) < taken + 100


def test_a_port_promised_to_another_is_avoided() -> None:
    free = choose("127.0.0.1", 0)
    assert choose("127.0.0.1", free, avoid=(free,)) > free


def test_an_address_of_another_machine_is_an_error_not_a_taken_port() -> None:
    with pytest.raises(CliError, match=r"cannot listen on 203\.0\.113\.1:8000"):
        choose("203.0.113.1", 8000)


def test_every_address_is_reached_through_loopback() -> None:
    assert [reachable(host) for host in ("0.0.0.0", "::", "::1", "127.0.0.1", "box")] == [
        "127.0.0.1",
        "[::1]",
        "[::1]",
        "127.0.0.1",
        "box",
    ]
