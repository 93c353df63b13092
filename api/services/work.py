"""Work for clients: claim an assignment, keep its lease, fetch states, give it back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.assignment_schemas import AssignmentOut, CheckpointOut, LeaseOut, MemoryOut, StateOut
from api.db import jobs, journal, rounds
from api.db.journal import Stored
from api.db.session import reading, writing
from api.db.tables import Assignment, Client, External, Job
from api.errors import ApiError, not_found
from api.services import rules
from api.services.keys import hash_of, same
from api.services.pace import pace
from api.settings import Settings
from api.settings import settings as of_process
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.uploads import Uploaded, named_in
from telemetry import facts
from telemetry.redact import redact


def claim(
    engine: Engine, settings: Settings, worker: str, external: str | None = None
) -> AssignmentOut | None:
    """Leases the oldest waiting assignment to a worker, or of its own to an external client.

    None if nothing waits.
    """
    with reading(engine) as session:  # most who ask find nothing: they must not wait for writers
        if not rounds.any_pending(session, external):
            return None
    now, token = time.time(), secrets.token_urlsafe(32)
    with writing(engine) as session:
        seat = rounds.next_pending(session, external)
        if seat is None:
            return None
        if external is not None:
            worker = session.get_one(External, external).name
            # it may have come back with other rows since the round opened
            seat.num_examples = session.get_one(Client, (seat.job_id, seat.client)).num_examples
        before = seat.worker if seat.attempt else None
        seat.state, seat.worker, seat.attempt = "leased", worker, seat.attempt + 1
        seat.lease_hash, seat.lease_until = hash_of(token), now + settings.lease_s
        seat.leased_at = seat.heartbeat_at = now
        seat.step, seat.error = 0, None
        seat.bytes_lost, seat.bytes_down = seat.bytes_lost + seat.bytes_down, 0
        again = f" after {before}" if before else ""
        text = f"Client {seat.client} was given to {worker}{again} (round {seat.number})"
        place = {"client": seat.client, "round": seat.number}
        jobs.add_event(session, seat.job_id, now, "leased", text, **place)
        facts.note(worker=worker, **about(seat))
        found = _assignment_out(session, seat, token, settings.lease_s)
        found.external = external is not None
    return found.model_copy(update={"heartbeat_s": pace.heartbeat_s(engine, settings.lease_s)})


def about(seat: Assignment) -> dict[str, object]:
    """What the log lines of a request about an assignment say."""
    return {
        "assignment": seat.id,
        "job": seat.job_id,
        "round": seat.number,
        "client": seat.client,
    }


def _assignment_out(
    session: Session, seat: Assignment, token: str, lease_s: float
) -> AssignmentOut:
    job = session.get_one(Job, seat.job_id)
    found = journal.since(session, job.id, seat.needs_from)
    states = [r for r in found if r.number < seat.number]
    return AssignmentOut(
        id=seat.id,
        job=job.id,
        round=seat.number,
        client=seat.client,
        lease_token=token,
        lease_s=lease_s,
        spec=job.spec,
        data_sha256=job.data_sha256,
        base_sha256=job.base_sha256,
        labels=job.labels or [],
        num_examples=seat.num_examples,
        states=[
            StateOut(
                round=r.number,
                digest=r.digest or "",
                size=r.size or 0,
                lacking=r.number >= seat.lacks_from,
            )
            for r in states
        ],
        checkpoint=_checkpoint_out(seat, found),
        memory=_memory_out(session.get_one(Client, (job.id, seat.client))),
    )


def _checkpoint_out(seat: Assignment, stored: Sequence[Stored]) -> CheckpointOut | None:
    for row in stored:
        if row.number == seat.checkpoint_round and row.checkpoint_digest is not None:
            size = row.checkpoint_size or 0
            return CheckpointOut(round=row.number, digest=row.checkpoint_digest, size=size)
    return None


def _memory_out(client: Client) -> MemoryOut | None:
    if client.memory_round is None or client.memory_sha256 is None:
        return None
    return MemoryOut(round=client.memory_round, sha256=client.memory_sha256)


def heartbeat(
    engine: Engine, assignment_id: str, token: str, step: int, lease_s: float
) -> LeaseOut:
    """Extends a lease and notes the step; ApiError 409 if the lease is not the caller's."""
    with writing(engine) as session:
        seat = leased(session, assignment_id, token)
        now = time.time()
        seat.heartbeat_at, seat.lease_until = now, now + lease_s
        seat.step = max(seat.step, step)
    return LeaseOut(lease_s=lease_s, heartbeat_s=pace.heartbeat_s(engine, lease_s))


def note_holdout(
    engine: Engine, assignment_id: str, token: str, num_examples: int, metrics: dict[str, float]
) -> None:
    """What the round's model is worth on a client's own hold-out; ApiError 409 without a lease."""
    with writing(engine) as session:
        seat = leased(session, assignment_id, token)
        seat.holdout = {"num_examples": num_examples, "metrics": metrics}


def leased(session: Session, assignment_id: str, token: str) -> Assignment:
    """The assignment, if the caller holds it; taken up again if its lease ran out unused."""
    seat = rounds.locked(session, assignment_id)
    if seat is None:
        raise not_found("assignment", assignment_id)
    facts.note(**about(seat))
    if not is_holder(seat, token):
        raise stale(seat)
    if seat.state == "pending":
        seat.state, seat.error = "leased", None
        seat.lease_until = time.time() + of_process().lease_s
        text = f"Client {seat.client} is back at {seat.worker} (round {seat.number})"
        jobs.add_event(session, seat.job_id, time.time(), "lease-resumed", text, client=seat.client)
    return seat


def is_holder(seat: Assignment, token: str) -> bool:
    """Whether the caller's lease is the last one, running or run out with nobody after it."""
    return seat.state in ("leased", "pending") and same(token, seat.lease_hash)


def stale(seat: Assignment) -> ApiError:
    """The refusal of a caller whose lease is not the assignment's."""
    why = f": {seat.error}" if seat.error else " under another lease"
    return ApiError(409, "stale-lease", f"assignment {seat.id} is {seat.state}{why}")


def fetch_state(
    engine: Engine, assignment_id: str, token: str, digest: str, sent: bool = True
) -> int:
    """Size of a state of the assignment's journal, or of the checkpoint that it was offered.

    Counts its bytes as sent down if they are. States that the client was sent in an earlier round
    count as `bytes_lost`: it is the worker that forgot them, not the method that needs them. So
    does what is sent once more in this round.
    """
    with writing(engine) as session:
        seat = leased(session, assignment_id, token)
        stored = journal.since(session, seat.job_id, seat.needs_from)
        offered = _checkpoint_out(seat, stored)
        if offered is not None and offered.digest == digest:
            if sent:
                _count_down(seat, offered.size, True, stored)
            return offered.size
        for row in stored:
            if row.digest == digest and row.number < seat.number:
                if sent:
                    _count_down(seat, row.size or 0, row.number >= seat.lacks_from, stored)
                return row.size or 0
    raise not_found(f"state of assignment {assignment_id}", digest)


def uploaded_rows(
    engine: Engine, assignment_id: str, token: str, source: str, external: str | None
) -> Uploaded:
    """An upload that the assignment's job names; ApiError 404 for any other.

    Also for an external client, which has rows of its own and is given no others. No byte of it is
    counted: the rows are where the client is, a method does not send them.
    """
    with writing(engine) as session:
        seat = leased(session, assignment_id, token)
        data = DataSpec.model_validate(session.get_one(Job, seat.job_id).spec["data"])
    found = Uploaded.of(source)
    if found is None or external is not None or source not in named_in(data).values():
        raise not_found(f"upload of assignment {assignment_id}", source)
    return found


def _count_down(seat: Assignment, size: int, lacked: bool, stored: Sequence[Stored]) -> None:
    # a checkpoint is offered only where it is less than this
    lacking = sum(r.size or 0 for r in stored if seat.lacks_from <= r.number < seat.number)
    first_time = min(size, lacking - seat.bytes_down) if lacked else 0
    seat.bytes_down += first_time
    seat.bytes_lost += size - first_time


def give_back(
    engine: Engine, settings: Settings, assignment_id: str, token: str, reason: str
) -> None:
    """A client cannot finish: the assignment waits for another, or fails after too many."""
    with writing(engine) as session:
        seat = leased(session, assignment_id, token)
        job = session.get_one(Job, seat.job_id)
        if job.state == "paused":
            seat.attempt -= 1  # there is no room for its update: that is not the client's failure
        release(session, seat, reason, rules.attempts(job.spec, settings))
        seat.lease_hash = None  # given back for good
    queue.hint_training(1)


def release(session: Session, seat: Assignment, reason: str, max_attempts: int) -> None:
    """Takes a lease away: back to pending, or failed when it has had all its attempts.

    The last holder may come back as long as nobody else has claimed the assignment.
    """
    now = time.time()
    seat.lease_until = None
    seat.error, seat.hinted_at = redact(reason), now
    seat.pending_at = now
    seat.state = "pending" if seat.attempt < max_attempts else "failed"
    which = f"round {seat.number}, attempt {seat.attempt}"
    text = f"Client {seat.client} lost its lease ({which}): {reason}"
    place = {"client": seat.client, "round": seat.number}
    jobs.add_event(session, seat.job_id, now, "lease-lost", text, **place)
