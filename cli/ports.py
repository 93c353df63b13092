"""Free ports: the wanted one, else the next."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import closing

from cli.errors import CliError

TRIED = 100


def choose(host: str, wanted: int, avoid: Collection[int] = ()) -> int:
    """The first port from `wanted` on that can be bound on `host`; 0 means any."""
    for port in _candidates(wanted, avoid):
        free = _bind(host, port)
        if free is not None:
            return free
    raise CliError(f"--port {wanted}: taken, and so are the {TRIED - 1} after it")


def reachable(host: str) -> str:
    """`host` as it stands in the URL that a process on this machine uses."""
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _candidates(wanted: int, avoid: Collection[int]) -> Iterator[int]:
    ports = [0] * TRIED if wanted == 0 else range(wanted, min(wanted + TRIED, 65536))
    return (port for port in ports if port not in avoid)


def _bind(host: str, port: int) -> int | None:
    """The port that was bound for a moment, or None if another process has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            raise CliError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        return int(probe.getsockname()[1])
