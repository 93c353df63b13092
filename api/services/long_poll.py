"""A claim that waits: the answer comes as soon as there is something to do."""

from __future__ import annotations

import time

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine

from api.assignment_schemas import AssignmentOut, ClaimIn
from api.db import externals
from api.db.session import reading
from api.services import work
from api.settings import Settings

_LOOK_EVERY_S = 0.5


async def claim(
    request: Request, engine: Engine, settings: Settings, asked: ClaimIn, external: str | None
) -> AssignmentOut | None:
    """As `work.claim`, again and again for `wait_s`; None also when a job is offered meanwhile.

    No thread waits with it, and nothing is leased to a caller that has gone away.
    """
    began = time.time()
    until = time.monotonic() + asked.wait_s
    while True:
        found = await run_in_threadpool(work.claim, engine, settings, asked.worker, external)
        left_s = until - time.monotonic()
        if found is not None or left_s <= 0 or await request.is_disconnected():
            return found
        if external is not None and await run_in_threadpool(_offered, engine, external, began):
            return None
        await anyio.sleep(min(_LOOK_EVERY_S, left_s))


def _offered(engine: Engine, external: str, since: float) -> bool:
    with reading(engine) as session:
        return externals.offered_since(session, external, since)
