"""The places of a round that opens: who keeps theirs, who begins, in the round's transaction.

In a synchronous job nobody is at work between two rounds, so all places are free.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.db import buffered, jobs
from api.db.tables import Assignment, Job
from api.services import presence
from fedkrso_core import engine
from fedkrso_core.payload import Payload
from fedkrso_core.workload import Workload


def give_up(session: Session, work: Workload, job: Job, number: int, now: float) -> None:
    """Cancels who would be staler in this round than the job allows."""
    limit = work.spec.rounds.max_staleness
    if limit is None:
        return
    reason = f"its update would be over {limit} rounds stale (rounds.max_staleness)"
    for client in buffered.cancel_older(session, job.id, number - limit, reason):
        text = f"Client {client} was cancelled: {reason}"
        jobs.add_event(session, job.id, now, "too-stale", text, client=client)


def move_up(session: Session, work: Workload, job: Job, number: int) -> list[Assignment]:
    """Lets clients that nobody has begun to train start from this round's model instead."""
    moved = list(buffered.waiting(session, job.id))
    have = jobs.clients_of(session, job.id, [seat.client for seat in moved])
    for seat, client in zip(moved, have, strict=True):
        seat.number = number
        starts = starting(work, client.have_round, number)
        seat.needs_from, seat.lacks_from = starts["needs_from"], starts["lacks_from"]
    session.flush()
    return moved


def choose(session: Session, work: Workload, job: Job, state: Payload, number: int) -> list[int]:
    """The clients that begin with this round."""
    seats = buffered.of_open_round(session, job.id, number)
    working = {seat.client for seat in seats if seat.state in buffered.WORKING}
    answered = {seat.client for seat in seats} - working
    away = presence.away(session, job)
    return engine.participants(
        work.method, work.config, work.spec, state, number, working, answered, away
    )


def starting(work: Workload, have: int | None, number: int) -> dict[str, Any]:
    """The first states that the model of a round is made of, and that a client lacks of them."""
    return {
        "needs_from": engine.needed(work.method, work.config, number).start,
        "lacks_from": engine.lacking(work.method, work.config, have, number).start,
    }


def reserves(
    session: Session, work: Workload, job: Job, state: Payload, first: list[int], number: int
) -> list[int]:
    """The clients that begin beside the first, of whom the quickest are needed."""
    away = presence.away(session, job)
    return engine.reserves(work.method, work.config, work.spec, state, first, number, away)
