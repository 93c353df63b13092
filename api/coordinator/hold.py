"""Long work of a coordinator: held against others, and given up when it has become useless."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.coordinator.store import Store
from api.db import rounds
from api.db.session import writing
from api.db.tables import Job, Round

_log = logging.getLogger("api.coordinator")
LOOK_S = 1.0


class GivenUp(Exception):
    """The work is useless now: the job was cancelled, or somebody else has it."""


class Watch:
    """Looks every second, in a thread, whether work still makes sense."""

    def __init__(self, s: Store, makes_sense: Callable[[Session], bool], every_s: float) -> None:
        self._store, self._makes_sense, self._every_s = s, makes_sense, every_s
        self._finished, self._useless = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join()

    def check(self) -> None:
        """GivenUp if the work is useless; call it between its parts."""
        if self._useless.is_set():
            raise GivenUp

    def _run(self) -> None:
        while not self._finished.wait(self._every_s):
            try:
                with writing(self._store.engine) as session:
                    makes_sense = self._makes_sense(session)
            except SQLAlchemyError as error:
                _log.warning("the database does not answer: %s", type(error).__name__)
                continue
            if not makes_sense:
                self._useless.set()
                return


def is_running(session: Session, job_id: str) -> bool:
    """Locks the job's row; key_share: whoever notes an event of the job need not wait for it."""
    return session.get_one(Job, job_id, with_for_update={"key_share": True}).state == "running"


Take = Callable[[Session, Round, str, float, float], bool]


@contextmanager
def held(s: Store, job: Job, number: int, take: Take) -> Iterator[tuple[str, Watch] | None]:
    """Holds a round for long work on it, renewing the hold; None if another holds it.

    `take(session, round, fence, now, until)` is the compare-and-swap that begins the hold. A pause
    that comes while it is held does not end it, but none is begun in a pause.
    """
    fence, lease_s = secrets.token_hex(16), s.settings.aggregate_lease_s
    if not _take(s, job, number, fence, take):
        yield None
        return

    def renewed(session: Session) -> bool:
        return rounds.keep_hold(session, job.id, number, fence, time.time() + lease_s)

    try:
        with Watch(s, renewed, min(LOOK_S, lease_s / 4)) as watch:
            yield fence, watch
    finally:
        _let_go(s, job.id, number, fence)


def _let_go(s: Store, job_id: str, number: int, fence: str) -> None:
    """After an error: free for the next try at once, or if the database is away in a while."""
    try:
        with writing(s.engine) as session:
            rounds.keep_hold(session, job_id, number, fence, 0.0)
    except SQLAlchemyError as error:
        _log.warning("job %s: the hold of round %s stays: %s", job_id, number, error)


def _take(s: Store, job: Job, number: int, fence: str, take: Take) -> bool:
    now = time.time()
    with writing(s.engine) as session:
        if not is_running(session, job.id):
            return False
        row = session.get_one(Round, (job.id, number))
        return take(session, row, fence, now, now + s.settings.aggregate_lease_s)
