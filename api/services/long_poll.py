"""A claim that waits: the answer comes as soon as there is something to do."""

from __future__ import annotations

import asyncio
import time

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine

from api.assignment_schemas import AssignmentOut, ClaimIn
from api.db import externals, rounds
from api.db.session import reading
from api.services import work
from api.settings import Settings

_LOOK_EVERY_S = 0.5
_GLANCE_EVERY_S = 0.02


async def claim(
    request: Request, engine: Engine, settings: Settings, asked: ClaimIn, external: str | None
) -> AssignmentOut | None:
    """As `work.claim`, again and again for `wait_s`; None also when a job is offered meanwhile.

    No thread waits with it, and nothing is leased to a caller that has gone away. A worker has its
    answer moments after a round opens.
    """
    began = time.time()
    until = time.monotonic() + asked.wait_s
    while True:
        found = await run_in_threadpool(work.claim, engine, settings, asked.worker, external)
        if found is not None or time.monotonic() >= until:
            return found
        if external is None:
            await _something(engine, until)
        elif await run_in_threadpool(_offered, engine, external, began):
            return None
        else:
            await anyio.sleep(min(_LOOK_EVERY_S, until - time.monotonic()))
        if await request.is_disconnected():
            return None


async def _something(engine: Engine, until: float) -> None:
    """Waits for work that any worker may take, half a second at most."""
    until = min(until, time.monotonic() + _LOOK_EVERY_S)
    while time.monotonic() < until and not await _glance(engine):
        pass


class _Glance:
    """One look at the database for all who wait: a thousand of them cost no more than one."""

    def __init__(self) -> None:
        self._task: asyncio.Task[bool] | None = None

    async def __call__(self, engine: Engine) -> bool:
        """Whether there is work, as of a moment from now."""
        task, loop = self._task, asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._task = loop.create_task(self._look(engine))
        return await asyncio.shield(task)  # who hangs up ends it for nobody else

    @staticmethod
    async def _look(engine: Engine) -> bool:
        await asyncio.sleep(_GLANCE_EVERY_S)
        return await run_in_threadpool(_is_work_there, engine)


_glance = _Glance()


def _is_work_there(engine: Engine) -> bool:
    with reading(engine) as session:
        return rounds.any_pending(session)


def _offered(engine: Engine, external: str, since: float) -> bool:
    with reading(engine) as session:
        return externals.offered_since(session, external, since)
