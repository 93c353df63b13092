"""The steps of a job's life, each ending in one transaction."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api import queue
from api.coordinator.snapshot import view_of
from api.coordinator.store import Store
from api.db import jobs, rounds
from api.db.session import reading, writing
from api.db.tables import Assignment, Job, Round
from api.services import safekeeping
from fedkrso_core import engine
from fedkrso_core.method import Update, unpack
from fedkrso_core.payload import Payload, encode
from fedkrso_core.workload import Workload


def start(s: Store, job: Job) -> None:
    """queued -> running, with the initial state as round 0."""
    encoded = encode(s.workload(job).initial_state())
    kept, now = s.keep(encoded), time.time()
    with writing(s.engine) as session:
        if not jobs.move(session, job.id, ("queued",), "running", started_at=now):
            return
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


def open_round(s: Store, job: Job, number: int) -> None:
    """Opens a round whose predecessor is closed, and announces its work."""
    with reading(s.engine) as session:
        digest = session.get_one(Round, (job.id, number - 1)).digest
    assert digest is not None
    prepared = _Opening(s, job, number, s.payload(digest))
    with writing(s.engine) as session:
        # the job's row is locked first: only then is it certain that nobody else opens the round
        if not _runs(session, job.id) or session.get(Round, (job.id, number)) is not None:
            return
        prepared.write(session)
    queue.hint_training(len(prepared.clients))


def _runs(session: Session, job_id: str) -> bool:
    """Locks the job's row; key_share: whoever notes an event of the job need not wait for it."""
    return session.get_one(Job, job_id, with_for_update={"key_share": True}).state == "running"


class _Opening:
    """What opening a round takes, computed before its transaction begins."""

    def __init__(self, s: Store, job: Job, number: int, state: Payload) -> None:
        work = s.workload(job)
        self.job, self.number, self.settings = job, number, s.settings
        self.method = work.method
        self.clients = engine.participants(work.method, work.config, work.spec, state, number)
        model = work.global_model.model
        self.expected = work.method.expect(work.config, model, state).model_dump(mode="json")

    def write(self, session: Session) -> None:
        """Adds the round and its assignments."""
        now = time.time()
        session.add(
            Round(
                job_id=self.job.id,
                number=self.number,
                state="collecting",
                opened_at=now,
                deadline=now + self.settings.round_deadline_s,
                expected=self.expected,
            )
        )
        for client in jobs.clients_of(session, self.job.id, self.clients):
            session.add(
                Assignment(
                    id=secrets.token_hex(16),
                    job_id=self.job.id,
                    number=self.number,
                    client=client.client,
                    state="pending",
                    needs_from=engine.needed(self.method, self.number).start,
                    lacks_from=engine.lacking(self.method, client.have_round, self.number).start,
                    created_at=now,
                    hinted_at=now,
                    num_examples=client.num_examples,
                )
            )
        text = f"Round {self.number} opened for clients {', '.join(map(str, self.clients))}"
        jobs.add_event(session, self.job.id, now, "round-opened", text, round=self.number)


def aggregate(s: Store, job: Job, number: int) -> bool:
    """Aggregates, evaluates, closes the round and opens the next if the engine wants one.

    False if another does it.
    """
    with _held(s, job, number) as fence:
        if fence is None:
            return False
        work = s.workload(job)
        state, updates = _inputs(s, job.id, number)
        began = time.perf_counter()
        new_state = work.method.aggregate(work.config, state, updates)
        encoded = encode(new_state)
        kept = s.keep(encoded)
        values = {"digest": kept.digest, "size": len(encoded), "aggregate_s": _since(began)}
        if engine.evaluates(work.spec, number):
            began = time.perf_counter()
            chain = [*s.chain(job.id, number - 1), s.state_ref(kept.digest)]
            work.global_model.materialize(chain)
            values |= {"metrics": work.evaluate(), "evaluate_s": _since(began)}
        return _close(s, job, number, _Result(fence, kept, values, new_state))


def _inputs(s: Store, job_id: str, number: int) -> tuple[Payload, Iterator[Update]]:
    """The state before the round, and its updates in order of clients, one at a time."""
    with reading(s.engine) as session:
        before = session.get_one(Round, (job_id, number - 1)).digest
        seats = rounds.seats(session, job_id, number)
    assert before is not None
    digests = [seat.digest for seat in seats if seat.state == "done" and seat.digest]
    return s.payload(before), (unpack(s.blobs.read(d)) for d in digests)


@dataclass(frozen=True)
class _Result:
    """What an aggregation gave."""

    fence: str
    kept: safekeeping.Kept
    values: dict[str, object]  # of the round's row
    state: Payload


def _close(s: Store, job: Job, number: int, result: _Result) -> bool:
    values = result.values
    opening = _Opening(s, job, number + 1, result.state) if number < job.rounds else None
    now = time.time()
    with writing(s.engine) as session:
        if not _runs(session, job.id):
            return False
        if not rounds.close(session, job.id, number, result.fence, closed_at=now, **values):
            return False
        safekeeping.refer(session, result.kept)
        row = session.get_one(Job, job.id)
        row.rounds_closed, row.errors = number, 0
        jobs.add_event(session, job.id, now, "round-closed", _closed_text(number, values))
        action = engine.next_action(view_of(session, row), now, s.settings.quorum)
        if opening is None or not isinstance(action, engine.Open):
            return True  # the job finishes
        opening.write(session)
    queue.hint_training(len(opening.clients))
    return True


def _closed_text(number: int, values: dict[str, object]) -> str:
    metrics = values.get("metrics")
    quality = f": accuracy {metrics['accuracy']:.3f}" if isinstance(metrics, dict) else ""
    return f"Round {number} closed{quality}"


@contextmanager
def _held(s: Store, job: Job, number: int) -> Iterator[str | None]:
    """Holds a round's aggregation, renewing the hold meanwhile; None if another holds it."""
    fence, lease = secrets.token_hex(16), s.settings.aggregate_lease_s
    now = time.time()
    with writing(s.engine) as session:
        row = session.get_one(Round, (job.id, number))
        taken = rounds.start_aggregating(session, row, fence, now, now + lease)
        if taken:
            rounds.give_up_late(session, job.id, number)
    if not taken:
        yield None
        return
    finished = threading.Event()

    def renew() -> None:
        while not finished.wait(lease / 4):
            with writing(s.engine) as session:
                rounds.keep_aggregating(session, job.id, number, fence, time.time() + lease)

    renewer = threading.Thread(target=renew, daemon=True)
    renewer.start()
    try:
        yield fence
    finally:
        finished.set()
        renewer.join()
        with writing(s.engine) as session:  # after an error: free for the next try at once
            rounds.keep_aggregating(session, job.id, number, fence, 0.0)


def extend(s: Store, job: Job, number: int) -> None:
    """Gives a round that is below its quorum at its deadline the same time again, once."""
    now = time.time()
    with writing(s.engine) as session:
        row = session.get_one(Round, (job.id, number), with_for_update=True)
        if row.extended or row.state != "collecting":
            return
        row.extended, row.deadline = True, now + s.settings.round_deadline_s
        text = f"Round {number} has too few updates at its deadline: extended once"
        jobs.add_event(session, job.id, now, "round-extended", text, round=number)


def finish(s: Store, job: Job, reason: str | None = None) -> None:
    """running -> done, with the digest of the final model; its folder is built right away.

    `reason` is why no more rounds are trained. The final model is that of the last closed round,
    which is measured here if it was not when the round closed.
    """
    work, number = s.workload(job), job.rounds_closed
    work.global_model.materialize(s.chain(job.id, number))
    sha, measured, now = work.global_model.sha256(), _measured(s, job, work), time.time()
    ended: dict[str, Any] = {"model_sha256": sha, "finished_at": now, "reason": reason}
    with writing(s.engine) as session:
        if not _runs(session, job.id) or not _is_last(session, job.id, number):
            return
        jobs.move(session, job.id, ("running",), "done", **ended)
        rounds.note(session, job.id, number, measured)
        jobs.ask_export(session, job.id, number, now)
        jobs.add_event(session, job.id, now, "done", _done_text(job, reason), model_sha256=sha)
    queue.hint_export(job.id, number)


def _measured(s: Store, job: Job, work: Workload) -> dict[str, Any]:
    """What measuring the final model gives; nothing if that was done when its round closed."""
    with reading(s.engine) as session:
        if session.get_one(Round, (job.id, job.rounds_closed)).metrics:
            return {}
    began = time.perf_counter()
    return {"metrics": work.evaluate(), "evaluate_s": _since(began)}


def _is_last(session: Session, job_id: str, number: int) -> bool:
    """Whether this round is still the last: another coordinator may have opened the next."""
    row = session.get_one(Job, job_id)
    return row.rounds_closed == number and rounds.open_round(session, job_id) is None


def _done_text(job: Job, reason: str | None) -> str:
    if reason is None:
        return "Job done"
    return f"Job stopped after round {job.rounds_closed} of {job.rounds}: {reason}"


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)
