"""What is known about the work at hand: job, round, client, worker, request.

Each log line carries them. They belong to a stretch of work (`about`), and whoever learns more in
the middle of it adds to them (`note`), also from a thread that was given a copy of the context:
the copy holds the same dictionary, so that the last line of a request knows what its handler
found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_facts: ContextVar[dict[str, Any] | None] = ContextVar("facts", default=None)


def current() -> dict[str, Any]:
    """The facts of the work at hand, as a copy."""
    return dict(_facts.get() or {})


def note(**facts: Any) -> None:
    """Adds to the facts of the work at hand; without effect outside of `about`."""
    held = _facts.get()
    if held is not None:
        held.update(facts)


@contextmanager
def about(**facts: Any) -> Iterator[None]:
    """The block is about these facts, on top of those outside of it."""
    token = _facts.set({**current(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)
