"""A flag that says: end soon."""

from __future__ import annotations

import mmap
import time

_LOOK_S = 0.1


class Stop:
    """Set by a signal handler, seen by every thread and by the processes forked afterwards.

    It is a byte of shared memory. An Event would be neither: its lock may be held by the very code
    that the signal interrupts, and a forked process has a copy of its own.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Ask for the end."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._byte[0] == 1

    def sleep(self, seconds: float) -> None:
        """Sleep, but not on when the end is asked for."""
        until = time.monotonic() + seconds
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
