"""Ctrl-C and SIGTERM: the first stops in good order, the second at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The first signal raises KeyboardInterrupt where the program is; later ones call `hurry`."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._stopping = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            # nohup: the user wants it to outlive the terminal
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopping(self) -> None:
        """The program is on its way out: the next signal is the second one."""
        self._stopping = True

    def _handle(self, *_: object) -> None:
        if self._stopping:
            self._hurry()
        else:
            self._stopping = True
            raise KeyboardInterrupt
