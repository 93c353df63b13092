"""What an open job waits for: each thing with since when and until when, and all in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.db import buffered, jobs, rounds, slots
from api.db.tables import Assignment, Job, Round
from api.schemas import WaitingOut
from api.services import presence, rules
from api.services.views import moment
from api.settings import Settings
from fedkrso_core.clients import quorum_of

_NAMED = 4  # in a sentence; the list has them all


def waits_of(session: Session, settings: Settings, job: Job, now: float) -> list[WaitingOut]:
    """What the job waits for right now; empty once it has ended."""
    if job.state not in jobs.OPEN_STATES:
        return []
    if job.state == "queued":
        return [_queued(session, settings, job)]
    row = rounds.open_round(session, job.id)
    if job.state == "paused":
        return [_paused(job), *_aggregating(row, now), *_leased(session, job, row, now)]
    if row is None:
        return [_between(session, job, now)]
    return _aggregating(row, now) or _collecting(session, settings, job, row, now)


def sentence(waits: Sequence[WaitingOut]) -> str | None:
    """The same in words; None for nothing."""
    named = [wait.what for wait in waits[:_NAMED]]
    if more := len(waits) - len(named):
        named.append(f"{more} more")
    return "; ".join(named) or None


def _wait(
    what: str, since: float | None, until: float | None = None, client: int | None = None
) -> WaitingOut:
    return WaitingOut(what=what, since=moment(since), until=moment(until), client=client)


def _queued(session: Session, settings: Settings, job: Job) -> WaitingOut:
    since = job.stopped_at or job.created_at
    ahead, running = slots.ahead_of(session, job), slots.running(session)
    if ahead < settings.max_running - running:
        return _wait("a coordinator to start the job", since)
    before = f"{_count(ahead, 'queued job')} before it and " if ahead else ""
    limit = f"{running} running, at most {settings.max_running} at once"
    return _wait(f"its turn: {before}{limit}", since)


def _paused(job: Job) -> WaitingOut:
    if job.paused_by == "room":
        return _wait(f"room to write (it then goes on by itself): {job.reason}", job.stopped_at)
    return _wait("somebody to resume it: it was paused by a user", job.stopped_at)


def _between(session: Session, job: Job, now: float) -> WaitingOut:
    closed = rounds.last_closed(session, job.id)
    if job.rounds_closed < job.rounds and (lacks := presence.missing(session, job)):
        return _wait(lacks, closed or job.started_at, presence.patience_until(session, job))
    for number, until in rounds.unmeasured(session, job.id):
        if until is not None and until > now:
            return _wait(f"the evaluation of round {number}", closed, until)
    what = "finish the job" if job.rounds_closed else "open the first round"
    return _wait(f"a coordinator to {what}", closed or job.started_at)


def _aggregating(row: Round | None, now: float) -> list[WaitingOut]:
    if row is None or row.state != "aggregating":
        return []
    if row.aggregator_until is not None and row.aggregator_until < now:
        return [_wait(f"a coordinator to aggregate round {row.number} anew", row.aggregator_until)]
    what = f"the aggregation of round {row.number}"
    return [_wait(what, row.aggregating_at, row.aggregator_until)]


def _leased(session: Session, job: Job, row: Round | None, now: float) -> list[WaitingOut]:
    """Clients that keep their leases in a pause: they wait for room with their updates."""
    seats = buffered.seats_of_open(session, job, row.number) if row is not None else ()
    return [_seat(seat, job, now) for seat in seats if seat.state == "leased"]


def _collecting(
    session: Session, settings: Settings, job: Job, row: Round, now: float
) -> list[WaitingOut]:
    seats = buffered.seats_of_open(session, job, row.number)
    working = [_seat(seat, job, now) for seat in seats if seat.state in ("pending", "leased")]
    target = rules.target(job.spec) or len(seats)
    done = sum(seat.state == "done" for seat in seats)
    if not working or done >= target:
        what = f"a coordinator to aggregate round {row.number}"
        last = max((seat.done_at or 0.0 for seat in seats), default=0.0)
        return [_wait(what, max(row.opened_at, last))]
    least = rules.least(job.spec) or quorum_of(settings.quorum, target)
    what = f"round {row.number}: {done} of {target} updates (at its deadline {least} will do)"
    return [_wait(what, row.opened_at, row.deadline), *working]


def _seat(seat: Assignment, job: Job, now: float) -> WaitingOut:
    if seat.state == "pending":
        what = f"client {seat.client} waits for a worker"
        return _wait(what, seat.pending_at or seat.created_at, client=seat.client)
    silent = max(0.0, now - (seat.heartbeat_at or now))
    step = f"step {seat.step} of {job.spec['local']['steps']}"
    what = f"client {seat.client} trains ({step}, last heartbeat {silent:.0f} s ago)"
    return _wait(what, seat.leased_at, seat.lease_until, seat.client)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
