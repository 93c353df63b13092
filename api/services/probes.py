"""Whether database, broker and blobs work, asked so that nobody waits long for the answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from api import queue
from api.blobs import Blobs
from api.db import migrate
from api.db.session import reading
from api.services.patience import Patient, TooSlow
from messaging.depth import probe

_log = logging.getLogger("api.probes")
LIMIT_S = 3.0
KEPT_S = 1.0

Check = Callable[[], None]


class NotReady(Exception):
    """A check found what is wrong, in words that may be shown to anybody."""


class Readiness:
    """Runs checks side by side, each with a time limit, and keeps the answer for a second.

    A check that hangs is not started again until it ends, so that probes cannot pile up; and while
    one caller runs the checks, the others are given the answer before.
    """

    def __init__(self, checks: Mapping[str, Check], limit_s: float = LIMIT_S) -> None:
        self._runs = {name: Patient(name, check) for name, check in checks.items()}
        self._limit_s, self._asking = limit_s, threading.Lock()
        self._answer: dict[str, str] | None = None
        self._until = 0.0

    def ask(self) -> dict[str, str]:
        """What is wrong, by name of the check; empty if all is well."""
        answer = self._answer
        if answer is not None and time.monotonic() < self._until:
            return answer
        if not self._asking.acquire(blocking=answer is None):
            return answer or {}
        try:
            return self._ask()
        finally:
            self._asking.release()

    def _ask(self) -> dict[str, str]:
        if self._answer is not None and time.monotonic() < self._until:
            return self._answer  # somebody else asked while we waited for the lock
        until = time.monotonic() + self._limit_s
        for run in self._runs.values():
            run.begin()
        found = {name: _outcome(run, until) for name, run in self._runs.items()}
        answer = {name: wrong for name, wrong in found.items() if wrong is not None}
        if answer != (self._answer or {}):
            _log.warning("ready" if not answer else "not ready", extra={"checks": answer})
        self._answer, self._until = answer, time.monotonic() + KEPT_S
        return answer


def _outcome(run: Patient[None], until: float) -> str | None:
    """What is wrong, in words that tell nothing secret; None if nothing is."""
    try:
        run.result(until)
    except (NotReady, TooSlow) as error:
        return str(error)
    except Exception as error:  # whatever a library raises, the answer is that it failed
        _log.info("probe failed", extra={"probe": run.name, "reason": str(error)})
        return type(error).__name__
    return None


def readiness(engine: Engine, blobs: Blobs) -> Readiness:
    """The checks of a service."""
    return Readiness(
        {
            "database": lambda: check_database(engine),
            "broker": lambda: probe(queue.celery_app()),
            "blobs": blobs.check,
        }
    )


def check_database(engine: Engine) -> None:
    """The database answers and its tables are those that this version works with."""
    with reading(engine) as session:
        context = MigrationContext.configure(session.connection())
        found = context.get_current_revision()
    if found != _newest():
        raise NotReady(f"revision {found or 'none'}, this version needs {_newest()}")


@lru_cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(migrate.config("")).get_current_head()
