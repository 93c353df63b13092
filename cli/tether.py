"""Becomes a program that ends when the process that started it does.

Run as a script: tether.py SIGNAL PARENT_PID PROGRAM [ARGUMENT ...]. It is a program of its own,
not a preexec_fn, because code between fork and exec can hang when the parent has threads.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(signal: int) -> None:
    """Ask the kernel to send this process the signal when the one that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Be tied to the parent, then become the program."""
    signal, parent = int(arguments[0]), int(arguments[1])
    end_with_parent(signal)
    if os.getppid() != parent:
        sys.exit("the supervisor ended before this process began")
    os.execvp(arguments[2], arguments[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
