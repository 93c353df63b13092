"""Clearing away what is kept no longer: old uploads, exports, jobs, and unused blobs.

Every step is harmless at any time and may be done by several processes at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

from sqlalchemy import Engine

from api.blobs import Blobs
from api.db import blobs as account
from api.db import removal
from api.db.jobs import ENDED_STATES
from api.db.session import reading, writing
from api.db.tables import Job
from api.settings import Settings

_AT_ONCE = 100


def retire(engine: Engine, settings: Settings) -> list[str]:
    """Lets go of what is past its time; returns the jobs that were deleted."""
    now = time.time()
    with writing(engine) as session:
        removal.forget_updates(session, now - settings.keep_updates_s)
        removal.forget_checkpoints(session)
        removal.forget_references(session)
        removal.forget_exports(session, now - settings.keep_exports_s)
        if settings.keep_audit_s is not None:
            removal.forget_audit(session, now - settings.keep_audit_s)
    if settings.keep_jobs_s is None:
        return []
    with reading(engine) as session:
        over = removal.ended_before(session, now - settings.keep_jobs_s, _AT_ONCE)
    return [job_id for job_id in over if _delete(engine, job_id)]


def _delete(engine: Engine, job_id: str) -> bool:
    with writing(engine) as session:
        job = session.get(Job, job_id, with_for_update=True)
        if job is None or job.state not in ENDED_STATES:
            return False  # deleted or retried meanwhile
        removal.delete_job(session, job_id)
        return True


def clear(engine: Engine, blobs: Blobs, grace_s: float) -> Iterator[int]:
    """Removes blobs that nothing refers to and nobody touched for a while; yields their sizes.

    A generator, so that the caller may stop after any of them.
    """
    before = time.time() - grace_s
    progress = True
    while progress:
        progress = False
        with reading(engine) as session:
            found = account.unused(session, before, _AT_ONCE)
        for digest in found:
            size = remove(engine, blobs, digest, before)
            if size is not None:
                progress = True
                yield size


def remove(engine: Engine, blobs: Blobs, digest: str, before: float) -> int | None:
    """Removes a blob if it is still unused, and returns its size; else None.

    First the fence changes: whoever stored the blob before, and is slow to refer to it, is refused
    from then on, whatever happens here. Then the row is locked until the file is gone too: who
    stores the same bytes meanwhile waits in `touch` and then really stores them again.
    """
    fence = account.new_fence()
    with writing(engine) as session:
        row = account.locked_unused(session, digest, before)
        if row is None:
            return None
        row.fence = fence
    with writing(engine) as session:
        row = account.locked_unused(session, digest, before)
        if row is None or row.fence != fence:
            return None
        blobs.delete(digest)
        session.delete(row)
        return row.size


def adopt(engine: Engine, blobs: Blobs) -> int:
    """Takes stored blobs without a row onto the account, so that they can be collected."""
    adopted, found = 0, iter((b.digest, b.size) for b in blobs.listed())
    while batch := list(islice(found, _AT_ONCE)):
        with writing(engine) as session:
            adopted += account.adopt(session, batch, time.time())
    return adopted
