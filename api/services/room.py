"""A disk without room: what is written is refused, the job is paused, and goes on by itself.

Clients keep their leases meanwhile and try their uploads again, so that no training is lost.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine, func

from api import queue
from api.db import jobs, pauses, slots
from api.db.session import reading, writing
from api.db.tables import Assignment, Job
from api.errors import ApiError
from api.services import life
from api.settings import Settings
from fedkrso_core.sizes import rounded_down, rounded_up

_FULL = (errno.ENOSPC, errno.EDQUOT)
# safetensors and SQLite have errors of their own, which say it in words alone
_WORDS = ("No space left on device", "database or disk is full")


class NoRoom(OSError):
    """There is no room for so many bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size = size


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk has no room left."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(words in str(error) for words in _WORDS)


def free_bytes(settings: Settings) -> int:
    """Room for blobs and what lies beside them; 0 where no more files can be made."""
    folders = (settings.blob_folder, settings.home)
    return min(_free(folder) for folder in folders if folder.is_dir())


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    if found.f_files and not found.f_favail:
        return 0
    return found.f_bavail * found.f_frsize


def require(settings: Settings, size: int | None) -> None:
    """NoRoom unless so many bytes fit and leave what the service itself needs."""
    if size is not None and free_bytes(settings) < size + settings.keep_free_bytes:
        raise NoRoom(size)


@asynccontextmanager
async def told(
    engine: Engine, settings: Settings, assignment_id: str | None, size: int | None
) -> AsyncIterator[None]:
    """Answers 507 `no-room` where the block finds the disk full, and pauses the job if any."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise await run_in_threadpool(_refused, engine, settings, assignment_id, size) from error


def _refused(
    engine: Engine, settings: Settings, assignment_id: str | None, size: int | None
) -> ApiError:
    if assignment_id is not None:
        with reading(engine) as session:
            seat = session.get(Assignment, assignment_id)
        if seat is not None:
            pause(engine, settings, seat.job_id, size or 0)
    return ApiError(507, "no-room", _in_words(settings, size or 0))


def _in_words(settings: Settings, size: int) -> str:
    needed = f"{rounded_up(size + settings.keep_free_bytes)} needed"
    return f"no room on the service's disk: {rounded_down(free_bytes(settings))} free, {needed}"


def pause(engine: Engine, settings: Settings, job_id: str, size: int) -> None:
    """Pauses a job until there is room; one that is paused or has ended stays as it is."""
    reason, now = _in_words(settings, size), time.time()
    with writing(engine) as session:
        since = func.coalesce(Job.stopped_at, now)  # its clock may stand still already
        noted = {"reason": reason, "paused_by": "room", "room_bytes": size, "stopped_at": since}
        if jobs.move(session, job_id, jobs.ACTIVE_STATES, "paused", **noted):
            text = f"Job paused: {reason}; it goes on when there is room"
            jobs.add_event(session, job_id, now, "paused", text, by="room")


def resume_where_possible(engine: Engine, settings: Settings) -> None:
    """Lets the jobs go on that wait for room, if there is twice what they lacked."""
    with reading(engine) as session:
        waiting = pauses.paused_for_room(session)
    free = free_bytes(settings) if waiting else 0
    for job_id, size in waiting:
        # twice: else a job would stop again with the very next update
        if free > 0 and free >= 2 * size + settings.keep_free_bytes:
            _go_on(engine, settings, job_id)


def _go_on(engine: Engine, settings: Settings, job_id: str) -> None:
    with writing(engine) as session:
        slots.hold(session)
        job = session.get_one(Job, job_id, with_for_update={"key_share": True})
        if job.state == "paused" and job.paused_by == "room":
            life.go_on(session, settings, job, "Job resumed: there is room again")
    queue.hint_advance(job_id)
