"""How many alike passes the one that runs now stands for.

A forecast runs methods on tensors without values. Where a loop does the same for many pieces of one
shape, it may then run once and say for how many it does: memory is that of one, work is counted as
often as it would be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TIMES: ContextVar[int] = ContextVar("times", default=1)


def times() -> int:
    """Of what runs now; 1 outside of every `standing_for`."""
    return _TIMES.get()


@contextmanager
def standing_for(count: int) -> Iterator[None]:
    """What runs inside stands for `count` such passes, and for as many more as what is around."""
    token = _TIMES.set(_TIMES.get() * count)
    try:
        yield
    finally:
        _TIMES.reset(token)
