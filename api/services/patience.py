"""Calls that are waited for only so long: of servers that may say nothing at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class TooSlow(Exception):
    """The call has not returned yet."""


class Patient(Generic[T]):
    """A call in a thread of its own, which ends with the process even if it hangs.

    While it hangs it is not made again, so that calls cannot pile up.
    """

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self.name, self._call = name, call
        self._thread: threading.Thread | None = None
        self._since = 0.0
        self._found: list[T] = []
        self._error: Exception | None = None

    def begin(self) -> None:
        """Makes the call, unless the one before has not returned yet."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._since, self._found, self._error = time.monotonic(), [], None
        self._thread = threading.Thread(target=self._run, name=f"patient-{self.name}", daemon=True)
        self._thread.start()

    def result(self, until: float) -> T:
        """What the call returned or raised; TooSlow at that time of the monotonic clock."""
        assert self._thread is not None
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            raise TooSlow(f"no answer for {time.monotonic() - self._since:.0f} s")
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found = [self._call()]
        except Exception as error:  # raised again where the result is asked for
            self._error = error
