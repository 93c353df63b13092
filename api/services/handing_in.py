"""Updates come in: whole or in pieces, checked at the door, accepted in one transaction.

A connection that breaks loses nothing that had arrived: the client asks how much is here and sends
the rest. What is here lies in a file of this machine, named by the assignment and the digest.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from api import queue
from api.assignment_schemas import AcceptedOut, ReceivedOut, ReportIn
from api.blobs import Blobs, Part, too_large
from api.db import buffered, jobs, rounds
from api.db.session import reading, writing
from api.db.tables import Assignment, Client, Job, Round
from api.errors import ApiError, not_found
from api.services import counting, extras, room, rules, safekeeping
from api.services.keys import same
from api.services.work import about, is_holder, stale
from api.settings import Settings
from fedkrso_core.errors import CoreError, PayloadError
from fedkrso_core.expect import Expected, check_upload
from fedkrso_core.header import Header
from telemetry import facts

_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})")


@dataclass(frozen=True)
class Piece:
    """Which bytes of the update a request's body is."""

    offset: int = 0
    total: int | None = None  # bytes of the whole update, where it is known

    @classmethod
    def of(cls, content_range: str | None, content_length: int | None) -> Piece:
        """From the headers; `bytes */N` says that all N were sent before. ApiError 422."""
        if content_range is None:
            return cls(0, content_length)
        found = _RANGE.fullmatch(content_range)
        if found is not None:
            total = int(found[3])
            first, last = int(found[1] or total), int(found[2] or total - 1)
            if first <= last + 1 <= total and content_length in (None, last + 1 - first):
                return cls(first, total)
        allowed = "bytes FIRST-LAST/TOTAL of exactly the body's length, or bytes */TOTAL"
        detail = f"Content-Range is {content_range!r}; allowed: {allowed}"
        raise ApiError(422, "invalid-request", detail)


@dataclass(frozen=True)
class _Seat:
    """What must be known of an assignment before a byte of its update is read."""

    expected: Expected
    num_examples: int
    max_norm: float | None
    reference: str | None  # digest of what its values are measured from
    accepted: AcceptedOut | None  # it is done, with the update that is sent


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
    content_range: str | None = None,
) -> AcceptedOut | ReceivedOut:
    """Receives an update, or one more piece of it; accepted when it is whole.

    The same bytes again are answered as the first time; other bytes, or a lease that is not the
    caller's, are refused with 409; a body that is not this round's update with 422.
    """
    piece = Piece.of(content_range, declared_bytes)
    if (piece.total or 0) > settings.upload_limit_bytes:
        raise too_large(settings.upload_limit_bytes)
    seat = await run_in_threadpool(_seat, engine, assignment_id, token, declared_digest)
    if seat.accepted is not None and piece.offset > 0:
        return seat.accepted
    room.require(settings, declared_bytes)
    name = _name(assignment_id, declared_digest)
    limit = settings.upload_limit_bytes
    part = await blobs.parts.receive(body, limit, name, piece.offset, piece.total)
    if part is None:
        return ReceivedOut(received=blobs.parts.received(name))
    try:
        return await run_in_threadpool(
            _accept, engine, blobs, assignment_id, token, report, declared_digest, part, seat
        )
    except (ApiError, CoreError):
        blobs.drop(part)
        await run_in_threadpool(_count_lost, engine, assignment_id, part)
        raise
    except OSError as error:
        if room.is_full(error):
            blobs.drop(part)
        else:
            blobs.parts.put_back(part, name)
        raise
    except BaseException:  # an outage, say: the client need not send it all again
        blobs.parts.put_back(part, name)
        raise


def received(
    engine: Engine, blobs: Blobs, assignment_id: str, token: str, digest: str
) -> ReceivedOut:
    """How much of an update is here; ApiError 409 without the lease."""
    seat = _seat(engine, assignment_id, token, digest)
    if seat.accepted is not None:
        return ReceivedOut(received=seat.accepted.bytes_up)
    return ReceivedOut(received=blobs.parts.received(_name(assignment_id, digest)))


def _name(assignment_id: str, digest: str) -> str:
    return f"{assignment_id}-{digest}"


def _seat(engine: Engine, assignment_id: str, token: str, digest: str) -> _Seat:
    """Refuses a caller without the lease before a byte is read."""
    with reading(engine) as session:
        seat = session.get(Assignment, assignment_id)
        if seat is None:
            raise not_found("assignment", assignment_id)
        facts.note(**about(seat))
        _require_lease(seat, token, digest)
        row = session.get_one(Round, (seat.job_id, seat.number))
        done = AcceptedOut(digest=digest, bytes_up=seat.bytes_up) if seat.state == "done" else None
        expected = Expected.model_validate(row.expected).of_client(seat.client)
        limit = rules.max_norm(session.get_one(Job, seat.job_id).spec)
        return _Seat(expected, seat.num_examples, limit, row.reference_digest, done)


def _require_lease(seat: Assignment, token: str, digest: str) -> None:
    mine = same(token, seat.lease_hash)
    if is_holder(seat, token) or (mine and seat.state == "done" and seat.digest == digest):
        return
    if mine and seat.state == "done":
        raise ApiError(409, "conflict", f"assignment {seat.id} already has other bytes")
    raise stale(seat)


def _count_lost(engine: Engine, assignment_id: str, part: Part) -> None:
    """The bytes were sent all the same: they count for the job's budget."""
    with writing(engine) as session:
        rounds.count_lost(session, assignment_id, part.size)


def _refuse_a_replay(session: Session, seat: Assignment, client: Client, digest: str) -> None:
    """What an external client sent in another round is no work for this one."""
    if client.external is None:
        return
    if (number := rounds.sent_before(session, seat, digest)) is not None:
        detail = f"client {seat.client} sent these very bytes in round {number}"
        raise ApiError(422, "replayed-update", detail)


@contextmanager
def _still_there(assignment_id: str) -> Iterator[None]:
    """ApiError 404 if the assignment's job is deleted while its rows are looked for."""
    try:
        yield
    except NoResultFound:
        raise not_found("assignment", assignment_id) from None


def _checked(blobs: Blobs, part: Part, seat: _Seat) -> Header:
    """The header of an update that is one of its round; PayloadError else."""
    reference = None
    if seat.reference is not None and seat.max_norm is not None:
        from safetensors.numpy import load

        reference = load(blobs.read(seat.reference))
    return check_upload(part.path, seat.expected, seat.num_examples, seat.max_norm, reference)


def _accept(
    engine: Engine,
    blobs: Blobs,
    assignment_id: str,
    token: str,
    report: ReportIn,
    declared_digest: str,
    part: Part,
    begun: _Seat,
) -> AcceptedOut:
    if part.digest != declared_digest:
        told = f"the body has sha256 {part.digest}, declared was {declared_digest}"
        raise PayloadError(told, "wrong-digest")
    header = _checked(blobs, part, begun)
    accepted = AcceptedOut(digest=part.digest, bytes_up=part.size)
    kept = safekeeping.keep(engine, blobs, part)
    with _still_there(assignment_id), writing(engine) as session:
        place = buffered.place_of(session, assignment_id)
        lacking = extras.lacks(session, assignment_id)
        seat = rounds.locked(session, assignment_id)
        if seat is None:
            raise not_found("assignment", assignment_id)
        _require_lease(seat, token, part.digest)
        if seat.state == "done":
            rounds.count_lost(session, seat.id, part.size)
            return accepted
        client = session.get_one(Client, (seat.job_id, seat.client))
        _refuse_a_replay(session, seat, client, part.digest)
        safekeeping.refer(session, kept)
        now = time.time()
        seat.state, seat.done_at, seat.heartbeat_at = "done", now, now
        seat.digest, seat.bytes_up = part.digest, part.size
        seat.metrics = header.scalars.get("metrics", {})
        seat.peak_memory_bytes, seat.train_s = report.peak_memory_bytes, report.train_s
        client.have_round = seat.number - 1
        client.memory_sha256 = report.memory_sha256
        client.memory_round = None if report.memory_sha256 is None else seat.number
        if lacking == 1:  # that was it: nobody else need train
            rounds.give_up_late(session, seat.job_id, seat.number)
        text, data = counting.count(seat, place)
        jobs.add_event(session, seat.job_id, now, "update", text, client=seat.client, **data)
        job_id = seat.job_id
    if place is not None or not _waits_for_others(engine, job_id, seat.number):
        queue.hint_advance(job_id)
    return accepted


def _waits_for_others(engine: Engine, job_id: str, number: int) -> bool:
    """Whether a synchronous round cannot close yet: then no coordinator need look at it.

    Asked after the update's transaction: of several that end at once the last sees all the others.
    """
    with reading(engine) as session:
        return rounds.has_work(session, job_id, number)
