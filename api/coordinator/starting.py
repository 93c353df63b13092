"""Starts jobs: at most so many run at once, the others wait for their turn."""

from __future__ import annotations

import time

from api.coordinator.store import Store
from api.db import jobs, slots
from api.db.session import reading, writing
from api.db.tables import Job, Round
from api.services import life, safekeeping
from fedkrso_core.payload import encode


def start(s: Store, job: Job) -> bool:
    """queued -> running when it is the job's turn, with the initial state as round 0.

    A job that ran before goes on where it was. False if it must wait.
    """
    if job.started_at is not None:
        return _start_again(s, job)
    with reading(s.engine) as session:
        if job.id not in slots.next_in_line(session, s.settings.max_running):
            return False
    work = s.workload(job)
    encoded = encode(work.initial_state())
    kept, now = s.keep(encoded), time.time()
    with writing(s.engine) as session:
        slots.hold(session)
        if job.id not in slots.next_in_line(session, s.settings.max_running):
            return False
        base = work.global_model.base_sha256
        begun = {"started_at": now, "stopped_at": None, "base_sha256": base}
        if not jobs.move(session, job.id, ("queued",), "running", **begun):
            return False
        session.add(
            Round(
                job_id=job.id,
                number=0,
                state="closed",
                opened_at=now,
                closed_at=now,
                deadline=now,
                expected={},
                digest=kept.digest,
                size=len(encoded),
            )
        )
        safekeeping.refer(session, kept)
        jobs.add_event(session, job.id, now, "started", "Job started")
    return True


def _start_again(s: Store, job: Job) -> bool:
    with writing(s.engine) as session:
        slots.hold(session)
        row = session.get_one(Job, job.id, with_for_update={"key_share": True})
        return row.state == "queued" and life.start_again(session, s.settings, row, time.time())
