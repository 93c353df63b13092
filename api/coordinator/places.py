"""The places of a round that opens: who keeps theirs, who begins, in the round's transaction.

In a synchronous job nobody is at work between two rounds, so all places are free.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.db import buffered, jobs, rounds
from api.db.seats import WORKING
from api.db.tables import Assignment, Job
from api.services import presence
from fedkrso_core import engine
from fedkrso_core.checkpoint import replaced
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
    beginnings = Beginnings(session, work, job, number)
    for seat, client in zip(moved, have, strict=True):
        seat.number = number
        for name, value in beginnings.of(client.have_round).items():
            setattr(seat, name, value)
    session.flush()
    return moved


def choose(session: Session, work: Workload, job: Job, state: Payload, number: int) -> list[int]:
    """The clients that begin with this round."""
    seats = buffered.of_open_round(session, job.id, number)
    working = {seat.client for seat in seats if seat.state in WORKING}
    answered = {seat.client for seat in seats} - working
    away = presence.away(session, job)
    return engine.participants(
        work.method, work.config, work.spec, state, number, working, answered, away
    )


class Beginnings:
    """What clients begin a round with: the states that make its model, and what they lack."""

    def __init__(self, session: Session, work: Workload, job: Job, number: int) -> None:
        self._work, self._number = work, number
        self._needed = engine.needed(work.method, work.config, number)
        self._states = rounds.sizes(session, job.id, self._needed) if self._may_replace else {}

    @property
    def _may_replace(self) -> bool:
        return self._work.checkpoint_bytes is not None

    def _lacked(self, have: int | None) -> range:
        return engine.lacking(self._work.method, self._work.config, have, self._number)

    def replaced(self, have: int | None) -> int | None:
        """The round whose checkpoint is less to download, for a client that has a round's state."""
        if not self._may_replace:
            return None
        size = self._states.__getitem__
        return replaced(self._lacked(have), lambda t: size(t)[0], self._work.checkpoint_bytes)

    def of(self, have: int | None) -> dict[str, Any]:
        """Columns of an assignment; a checkpoint is offered if it is kept."""
        checkpoint = self.replaced(have)
        kept = checkpoint is not None and self._states[checkpoint][1]
        return {
            "needs_from": self._needed.start,
            "lacks_from": self._lacked(have).start,
            "checkpoint_round": checkpoint if kept else None,
        }


def checkpoint_wanted(
    session: Session, work: Workload, job: Job, state: Payload, number: int
) -> int | None:
    """The round whose checkpoint is to be made: for somebody who begins it is less to download."""
    if work.checkpoint_bytes is None:
        return None
    first = choose(session, work, job, state, number)
    waiting = [s.client for s in buffered.of_open_round(session, job.id, number)]
    begin = {*first, *reserves(session, work, job, state, first, number), *waiting}
    beginnings = Beginnings(session, work, job, number)
    have = [client.have_round for client in jobs.clients_of(session, job.id, sorted(begin))]
    wanted = [found for one in have if (found := beginnings.replaced(one)) is not None]
    return wanted[0] if wanted else None


def reserves(
    session: Session, work: Workload, job: Job, state: Payload, first: list[int], number: int
) -> list[int]:
    """The clients that begin beside the first, of whom the quickest are needed."""
    away = presence.away(session, job)
    return engine.reserves(work.method, work.config, work.spec, state, first, number, away)
