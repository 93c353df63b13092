"""One process of the service: started, watched, started again, stopped with all it started."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from cli.process import Command, Process, start

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
STEADY_S = 30.0
LOG_BYTES = 10_000_000


class Child:
    """A command with its process; `tick` keeps it alive."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.early_deaths = 0
        self._process: Process | None = None
        self._started_at = 0.0
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    def tick(self) -> str | None:
        """Start the process if it is time to; what happened to it, if anything did."""
        now = time.monotonic()
        if self._process is None:
            return self._start() if now >= self._start_at else None
        code = self._process.poll()
        return None if code is None else self._died(code, now - self._started_at)

    def is_running(self) -> bool:
        """Whether the process is there now."""
        return self._process is not None and self._process.poll() is None

    def ask_to_end(self) -> None:
        """SIGTERM to the process alone: it ends its own children."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill_group(self) -> None:
        """SIGKILL to the process and whatever it left behind; it is not started again."""
        if self._process is None:
            return
        _kill_group(self._process.pid)
        self._process.wait()
        self._process = None

    def tail(self, lines: int = 20) -> list[str]:
        """The end of the log."""
        with suppress(OSError), self.command.log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 20_000, 0))
            return file.read().decode(errors="replace").splitlines()[-lines:]
        return []

    def _start(self) -> str | None:
        self._started_at = time.monotonic()
        try:
            rotate(self.command.log)
            self._process = start(self.command)
        except OSError as error:
            return self._wait_after(f"{self.command.name} cannot be started: {error}", 0.0)
        return None

    def _died(self, code: int, lived_s: float) -> str:
        assert self._process is not None
        _kill_group(self._process.pid)
        self._process = None
        how = f"on {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return self._wait_after(f"{self.command.name} ended {how} after {lived_s:.1f} s", lived_s)

    def _wait_after(self, what: str, lived_s: float) -> str:
        self.early_deaths = 1 if lived_s >= STEADY_S else self.early_deaths + 1
        wait_s = backoff_s(self.early_deaths)
        self._start_at = time.monotonic() + wait_s
        return f"{what}; starting it again in {wait_s:g} s ({self.command.log})"


def backoff_s(early_deaths: int) -> float:
    """Seconds to wait after this many deaths in a row: 0.5, 1, 2, ... 30."""
    return float(min(FIRST_WAIT_S * 2 ** min(early_deaths - 1, 10), LONGEST_WAIT_S))


def rotate(log: Path, limit_bytes: int = LOG_BYTES) -> None:
    """Put a log that grew over the limit aside as `.1`."""
    if log.exists() and log.stat().st_size > limit_bytes:
        log.replace(log.with_name(f"{log.name}.1"))


def _kill_group(pid: int) -> None:
    # each child leads a session of its own, so that its group has its pid; on some systems a
    # group of which only the dead leader is left answers EPERM
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
