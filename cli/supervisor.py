"""Keeps the processes of the service alive, and leaves none behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from cli.child import Child
from cli.process import Command

TICK_S = 0.1
GRACE_S = 10.0
STUCK_AFTER = 3


class Supervisor:
    """Runs commands in a thread of its own until it is stopped.

    One thread does everything from the first start to the last kill: the kernel counts a child's
    parent as dead when the thread that started it ends.
    """

    def __init__(
        self, commands: Sequence[Command], say: Callable[[str], None], grace_s: float = GRACE_S
    ) -> None:
        self.children = [Child(command) for command in commands]
        self._say = say
        self._grace_s = grace_s
        # plain flags: a signal handler that sets an Event while its lock is held never returns
        self._stopping = False
        self._hurrying = False
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def start(self) -> None:
        """Start the commands and watch them."""
        self._thread.start()

    def stop(self) -> None:
        """End the children, stage by stage; returns when none is left."""
        self._stopping = True
        if self._thread.ident is not None:
            self._thread.join()

    def hurry(self) -> None:
        """Do not wait for any child to end by itself; may be called in a signal handler."""
        self._hurrying = self._stopping = True

    def stuck(self) -> Child | None:
        """A child that died again and again as soon as it was started."""
        return next((child for child in self.children if child.early_deaths >= STUCK_AFTER), None)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._tick()
                time.sleep(TICK_S)
        finally:
            for stage in sorted({child.command.stage for child in self.children}):
                self._end([child for child in self.children if child.command.stage == stage])

    def _tick(self) -> None:
        for child in self.children:
            happened = child.tick()
            if happened:
                self._say(happened)

    def _end(self, children: Sequence[Child]) -> None:
        give_up = time.monotonic() + self._grace_s
        for child in children:
            child.ask_to_end()
        while any(child.is_running() for child in children) and time.monotonic() < give_up:
            if self._hurrying:
                break
            time.sleep(TICK_S / 2)
        for child in children:
            child.kill_group()
