"""Work for clients: claim an assignment, keep its lease, fetch states, hand in the update."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterable
from pathlib import Path

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.blobs import Blobs, Part, too_large
from api.db import jobs, rounds
from api.db.session import reading, writing
from api.db.tables import Assignment, Client, Job, Round
from api.errors import ApiError, not_found
from api.schemas import AcceptedOut, AssignmentOut, LeaseOut, ReportIn, StateOut
from api.services.keys import hash_of, same
from api.services.pace import pace
from api.settings import Settings
from fedkrso_core.errors import CoreError, PayloadError
from fedkrso_core.expect import Expected, check_upload


def claim(engine: Engine, settings: Settings, worker: str) -> AssignmentOut | None:
    """Leases the oldest waiting assignment to a worker; None if nothing waits."""
    with reading(engine) as session:  # most who ask find nothing: they must not wait for writers
        if not rounds.any_pending(session):
            return None
    now, token = time.time(), secrets.token_urlsafe(32)
    with writing(engine) as session:
        seat = rounds.next_pending(session)
        if seat is None:
            return None
        seat.state, seat.worker, seat.attempt = "leased", worker, seat.attempt + 1
        seat.lease_hash, seat.lease_until = hash_of(token), now + settings.lease_s
        seat.leased_at = seat.heartbeat_at = now
        seat.step, seat.error = 0, None
        seat.bytes_lost, seat.bytes_down = seat.bytes_lost + seat.bytes_down, 0
        text = f"Client {seat.client} was given to {worker} (round {seat.number})"
        jobs.add_event(session, seat.job_id, now, "leased", text, client=seat.client)
        found = _assignment_out(session, seat, token, settings.lease_s)
    return found.model_copy(update={"heartbeat_s": pace.heartbeat_s(engine, settings.lease_s)})


def _assignment_out(
    session: Session, seat: Assignment, token: str, lease_s: float
) -> AssignmentOut:
    job = session.get_one(Job, seat.job_id)
    states = [
        r for r in rounds.all_of(session, job.id) if seat.needs_from <= r.number < seat.number
    ]
    return AssignmentOut(
        id=seat.id,
        job=job.id,
        round=seat.number,
        client=seat.client,
        lease_token=token,
        lease_s=lease_s,
        spec=job.spec,
        data_sha256=job.data_sha256,
        states=[
            StateOut(
                round=r.number,
                digest=r.digest or "",
                size=r.size or 0,
                lacking=r.number >= seat.lacks_from,
            )
            for r in states
        ],
    )


def heartbeat(
    engine: Engine, assignment_id: str, token: str, step: int, lease_s: float
) -> LeaseOut:
    """Extends a lease and notes the step; ApiError 409 if the lease is not the caller's."""
    with writing(engine) as session:
        seat = _leased(session, assignment_id, token)
        now = time.time()
        seat.heartbeat_at, seat.lease_until = now, now + lease_s
        seat.step = max(seat.step, step)
    return LeaseOut(lease_s=lease_s, heartbeat_s=pace.heartbeat_s(engine, lease_s))


def _leased(session: Session, assignment_id: str, token: str) -> Assignment:
    seat = rounds.locked(session, assignment_id)
    if seat is None:
        raise not_found("assignment", assignment_id)
    if seat.state != "leased" or not same(token, seat.lease_hash):
        raise ApiError(
            409, "stale-lease", f"assignment {assignment_id} is {seat.state} under another lease"
        )
    return seat


def fetch_state(engine: Engine, blobs: Blobs, assignment_id: str, token: str, digest: str) -> Path:
    """The file of a state of the assignment's journal; counts its bytes as sent down.

    States that the client was sent in an earlier round count as `bytes_lost`: it is the worker
    that forgot them, not the method that needs them.
    """
    with writing(engine) as session:
        seat = _leased(session, assignment_id, token)
        for row in rounds.all_of(session, seat.job_id):
            if row.digest == digest and seat.needs_from <= row.number < seat.number:
                if row.number >= seat.lacks_from:
                    seat.bytes_down += row.size or 0
                else:
                    seat.bytes_lost += row.size or 0
                return blobs.path(digest)
    raise not_found(f"state of assignment {assignment_id}", digest)


def give_back(
    engine: Engine, settings: Settings, assignment_id: str, token: str, reason: str
) -> None:
    """A client cannot finish: the assignment waits for another, or fails after too many."""
    with writing(engine) as session:
        release(session, _leased(session, assignment_id, token), reason, settings.max_attempts)
    queue.hint_training(1)


def release(session: Session, seat: Assignment, reason: str, max_attempts: int) -> None:
    """Takes a lease away: back to pending, or failed when it has had all its attempts."""
    now = time.time()
    seat.lease_hash = seat.lease_until = None
    seat.error, seat.hinted_at = reason, now
    seat.state = "pending" if seat.attempt < max_attempts else "failed"
    which = f"round {seat.number}, attempt {seat.attempt}"
    text = f"Client {seat.client} lost its lease ({which}): {reason}"
    jobs.add_event(session, seat.job_id, now, "lease-lost", text, client=seat.client)


async def hand_in(
    engine: Engine,
    blobs: Blobs,
    settings: Settings,
    assignment_id: str,
    token: str,
    report: ReportIn,
    declared_bytes: int | None,
    declared_digest: str,
    body: AsyncIterable[bytes],
) -> AcceptedOut:
    """Receives an update: checked at the door, then accepted in one transaction.

    The same bytes again are answered as the first time; other bytes, or a lease that is not the
    caller's, are refused with 409; a body that is not this round's update with 422.
    """
    if declared_bytes is not None and declared_bytes > settings.upload_limit_bytes:
        raise too_large(settings.upload_limit_bytes)
    await run_in_threadpool(_expectation, engine, assignment_id, token, declared_digest)
    part = await blobs.receive(body, settings.upload_limit_bytes)
    try:
        return await run_in_threadpool(
            _accept, engine, blobs, assignment_id, token, report, declared_digest, part
        )
    except (ApiError, CoreError):
        await run_in_threadpool(_count_lost, engine, assignment_id, part)
        raise
    finally:
        blobs.drop(part)


def _expectation(
    engine: Engine, assignment_id: str, token: str, digest: str
) -> tuple[Expected, int]:
    """What the update must look like; refuses a caller without the lease before a byte is read."""
    with reading(engine) as session:
        seat = session.get(Assignment, assignment_id)
        if seat is None:
            raise not_found("assignment", assignment_id)
        _require_lease(seat, token, digest)
        row = session.get_one(Round, (seat.job_id, seat.number))
        return Expected.model_validate(row.expected), seat.num_examples


def _require_lease(seat: Assignment, token: str, digest: str) -> None:
    mine = same(token, seat.lease_hash)
    if mine and (seat.state == "leased" or (seat.state == "done" and seat.digest == digest)):
        return
    if mine and seat.state == "done":
        raise ApiError(409, "conflict", f"assignment {seat.id} already has other bytes")
    raise ApiError(409, "stale-lease", f"assignment {seat.id} is {seat.state} under another lease")


def _count_lost(engine: Engine, assignment_id: str, part: Part) -> None:
    """The bytes were sent all the same: they count for the job's budget."""
    with writing(engine) as session:
        rounds.count_lost(session, assignment_id, part.size)


def _accept(
    engine: Engine,
    blobs: Blobs,
    assignment_id: str,
    token: str,
    report: ReportIn,
    declared_digest: str,
    part: Part,
) -> AcceptedOut:
    if part.digest != declared_digest:
        raise PayloadError(f"the body has sha256 {part.digest}, declared was {declared_digest}")
    expected, num_examples = _expectation(engine, assignment_id, token, part.digest)
    header = check_upload(part.path, expected, num_examples)
    accepted = AcceptedOut(digest=part.digest, bytes_up=part.size)
    blobs.keep(part)
    with writing(engine) as session:
        seat = rounds.locked(session, assignment_id)
        assert seat is not None
        _require_lease(seat, token, part.digest)
        if seat.state == "done":
            rounds.count_lost(session, seat.id, part.size)
            return accepted
        now = time.time()
        seat.state, seat.done_at, seat.heartbeat_at = "done", now, now
        seat.digest, seat.bytes_up = part.digest, part.size
        seat.metrics = header.scalars.get("metrics", {})
        seat.peak_memory_bytes, seat.train_s = report.peak_memory_bytes, report.train_s
        client = session.get_one(Client, (seat.job_id, seat.client))
        client.have_round = seat.number - 1
        text = f"Client {seat.client} handed in its update (round {seat.number}, {part.size} bytes)"
        jobs.add_event(session, seat.job_id, now, "update", text, client=seat.client)
        job_id = seat.job_id
    queue.hint_advance(job_id)
    return accepted
