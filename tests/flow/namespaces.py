"""Network namespaces, each with a cable to this machine: `ip netns`, veth, netem if it is there."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.flow.servers import missing


@dataclass(frozen=True)
class Cable:
    """A namespace, and the address at which it reaches this machine."""

    namespace: str
    device: str
    host: str
    shaped: bool  # whether delay and loss are there: the kernel may lack netem

    def inside(self, *words: str) -> list[str]:
        """The command, run in the namespace."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def pull_out(self) -> None:
        """Nothing passes any more, and nobody is told."""
        _run("ip", "netns", "exec", self.namespace, "ip", "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        """The network is there again."""
        _run("ip", "netns", "exec", self.namespace, "ip", "link", "set", "eth0", "up")


@contextmanager
def cable(number: int, delay_ms: int, loss_percent: float) -> Iterator[Cable]:
    """A namespace behind a network with this delay and loss; skips where that is not allowed."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        missing("no namespaces: iproute2 or the right to use it is not there")
    name = f"fk{secrets.token_hex(3)}{number}"
    host, peer = f"10.213.{number}.1", f"10.213.{number}.2"
    if (wrong := _try("ip", "netns", "add", name)) is not None:
        missing(f"no namespaces: {wrong}")
    try:
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "addr", "add", f"{host}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        inside = ("ip", "netns", "exec", name, "ip")
        _run(*inside, "addr", "add", f"{peer}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run(*inside, "link", "set", device, "up")
        netem = ("netem", "delay", f"{delay_ms}ms", "loss", f"{loss_percent}%")
        refused = _try("tc", "qdisc", "add", "dev", name, "root", *netem)
        if refused is not None:
            print(f"no delay and loss: {refused}")  # noqa: T201 - pytest shows it with -rP
        yield Cable(name, name, host, refused is None)
    finally:
        _try("ip", "link", "del", name)
        _try("ip", "netns", "del", name)


def _try(*words: str) -> str | None:
    """What is wrong; None if the command did it."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip() or f"{words[0]} fails"


def _run(*words: str) -> None:
    if (wrong := _try(*words)) is not None:
        raise AssertionError(f"{' '.join(words)}: {wrong}")
