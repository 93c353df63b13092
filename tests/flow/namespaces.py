"""Clients' ways to the service: namespaces of their own (`ip netns`, veth, netem), or a proxy.

A kernel may lack netem. Then the proxy of `bad_network` stands at the namespace's end of the cable
and delays instead; a lost packet is no more than a delay to TCP, so it breaks connections in place
of losing some. Where no namespaces are allowed the proxy is all there is.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

import pytest

from tests.flow.bad_network import Network

_PACKET_BYTES = 1500

Kind = Literal["namespaces", "proxy"]


class Cable(Protocol):
    """What can be pulled out."""

    def pull_out(self) -> None:
        """Nothing passes any more, and nobody is told."""

    def plug_in(self) -> None:
        """The network is there again."""


@dataclass(frozen=True)
class Way:
    """How a client reaches the service."""

    server: str
    cable: Cable
    namespace: str | None = None

    def inside(self, *words: str) -> list[str]:
        """The command, run at the client's end."""
        return list(words) if self.namespace is None else _inside(self.namespace, *words)


@dataclass(frozen=True)
class Veth:
    """The cable of a namespace."""

    namespace: str

    def pull_out(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._set("down")

    def plug_in(self) -> None:
        """The network is there again."""
        self._set("up")

    def _set(self, state: str) -> None:
        _run(*_inside(self.namespace, "ip", "link", "set", "eth0", state))


@contextmanager
def way(
    kind: Kind, number: int, url: str, delay_ms: int, loss_percent: float, rate: float
) -> Iterator[Way]:
    """To the service at `url` with this delay, loss and rate (bytes/s).

    Skips if namespaces are asked for and not allowed.
    """
    port = urlsplit(url).port or 0
    # as many bytes as pass, on average, before one of their packets is lost
    cut_after = int(_PACKET_BYTES / (loss_percent / 100)) if loss_percent else sys.maxsize
    network = Network(port, delay_ms / 1000, rate, cut_after)
    if kind == "proxy":
        with network:
            yield Way(f"http://127.0.0.1:{network.listens_at}", network)
        return
    with _namespace(number) as (name, host):
        netem = ("netem", "delay", f"{delay_ms}ms", "loss", f"{loss_percent}%")
        limit = ("rate", f"{int(8 * rate)}bit")
        refused = _try("tc", "qdisc", "add", "dev", name, "root", *netem, *limit)
        if refused is None:
            yield Way(f"http://{host}:{port}", Veth(name), name)
            return
        print(f"no netem ({refused}): the proxy delays and cuts")  # noqa: T201 - shown with -rP
        network.host = host
        with network:
            yield Way(f"http://{host}:{network.listens_at}", Veth(name), name)


@contextmanager
def _namespace(number: int) -> Iterator[tuple[str, str]]:
    """Its name, which the cable's end here has too, and this machine's address in it."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("no namespaces: iproute2 or the right to use it is not there")
    name = f"fk{secrets.token_hex(3)}{number}"
    host, peer = f"10.213.{number}.1", f"10.213.{number}.2"
    if (wrong := _try("ip", "netns", "add", name)) is not None:
        pytest.skip(f"no namespaces: {wrong}")
    try:
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "addr", "add", f"{host}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        _run(*_inside(name, "ip", "addr", "add", f"{peer}/24", "dev", "eth0"))
        for device in ("lo", "eth0"):
            _run(*_inside(name, "ip", "link", "set", device, "up"))
        yield name, host
    finally:
        _try("ip", "link", "del", name)
        _try("ip", "netns", "del", name)


def _inside(namespace: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *words]


def _try(*words: str) -> str | None:
    """What is wrong; None if the command did it."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip() or f"{words[0]} fails"


def _run(*words: str) -> None:
    if (wrong := _try(*words)) is not None:
        raise AssertionError(f"{' '.join(words)}: {wrong}")
