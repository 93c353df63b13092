"""The collector: now and then it lets go of what is past its time and clears unused blobs."""

from __future__ import annotations

import logging
import time

from api import queue
from api.coordinator.advance import store
from api.coordinator.store import Store
from api.services import collection

_log = logging.getLogger("api.coordinator")
# the process has rounds to aggregate: what is left over waits for the next hint
_LONGEST_S = 2.0
_ADOPT_EVERY_S = 24 * 3600.0


def collect() -> None:
    """One pass, of a few seconds at most; asks for another if there is more."""
    s = store()
    try:
        retired = collection.retire(s.engine, s.settings)
        for job_id in retired:
            s.forget(job_id)
        if retired:
            queue.hint_forget()
        s.forget_deleted()
        _adopt(s)
        _clear(s)
    except OSError as error:
        _log.warning("blobs cannot be cleared away now: %s", error)


def _adopt(s: Store) -> None:
    if time.monotonic() < s.adopt_at:
        return
    adopted = collection.adopt(s.engine, s.blobs)
    s.adopt_at = time.monotonic() + _ADOPT_EVERY_S
    if adopted:
        _log.info("%d stored blobs were not on the account", adopted)


def _clear(s: Store) -> None:
    end, count, freed = time.monotonic() + _LONGEST_S, 0, 0
    for size in collection.clear(s.engine, s.blobs, s.settings.blob_grace_s):
        count, freed = count + 1, freed + size
        if time.monotonic() > end:
            queue.hint_collect()
            break
    if count:
        _log.info("cleared away %d unused blobs, %d bytes", count, freed)
