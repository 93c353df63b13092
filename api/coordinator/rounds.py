"""The steps of a job's life, each ending in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from api import queue
from api.coordinator.hold import LOOK_S, Watch, held, is_running
from api.coordinator.opening import Opening
from api.coordinator.snapshot import view_of
from api.coordinator.store import Store
from api.db import buffered, jobs, rounds
from api.db.session import reading, writing
from api.db.tables import Assignment, Job, Round
from api.services import rules, safekeeping
from fedkrso_core import engine
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import Update, unpack
from fedkrso_core.payload import Payload, encode
from fedkrso_core.personal import Report, round_metrics
from fedkrso_core.rounds_spec import of_stored
from fedkrso_core.stale import Counted
from fedkrso_core.tasks import headline, task_of
from fedkrso_core.workload import Workload


def open_round(s: Store, job: Job, number: int) -> None:
    """Opens a round whose predecessor is closed, and announces its work."""
    with reading(s.engine) as session:
        digest = session.get_one(Round, (job.id, number - 1)).digest
    assert digest is not None
    prepared = Opening(s, job, number, s.payload(digest))
    prepared.keep_blobs(s)
    with writing(s.engine) as session:
        # the job's row is locked first: only then is it certain that nobody else opens the round
        if not is_running(session, job.id) or session.get(Round, (job.id, number)) is not None:
            return
        prepared.write(session)
    queue.hint_training(len(prepared.clients))


def aggregate(s: Store, job: Job, number: int) -> bool:
    """Aggregates, closes the round and opens the next if the engine wants one.

    False if another does it, or the job was cancelled meanwhile.
    """
    with held(s, job, number, _start_aggregating) as mine:
        if mine is None:
            return False
        fence, watch = mine
        work = s.workload(job)
        state, counted, remembered = _inputs(s, job.id, number, watch)
        began = time.perf_counter()
        after = work.aggregate(state, counted, remembered)
        encoded = encode(after.state)
        kept = s.keep(encoded)
        server = None if after.server is None else s.keep(encode(after.server))
        values = {"digest": kept.digest, "size": len(encoded), "aggregate_s": _since(began)}
        if server is not None:
            values["server_digest"] = server.digest
        blobs = [kept] if server is None else [kept, server]
        return _close(s, job, number, _Result(fence, blobs, values, after.state))


def _start_aggregating(session: Session, row: Round, fence: str, now: float, until: float) -> bool:
    if not rounds.start_aggregating(session, row, fence, now, until):
        return False
    job = session.get_one(Job, row.job_id)
    if not of_stored(job.spec["rounds"]).buffered:
        rounds.give_up_late(session, job.id, row.number)
    return True


def measure(s: Store, job: Job, number: int) -> None:
    """Evaluates the model of a closed round, unless another does it or it is no longer wanted.

    Its clients do not wait for that: the next round is open meanwhile.
    """
    with held(s, job, number, rounds.start_measuring) as mine:
        if mine is None:
            return
        fence, watch = mine
        work, began = s.workload(job), time.perf_counter()
        metrics = _quality(s, job.id, number, work, watch)
        values = {"metrics": metrics, "evaluate_s": _since(began), "measured_at": time.time()}
        with writing(s.engine) as session:
            if rounds.note_measured(session, job.id, number, fence, **values):
                session.get_one(Job, job.id).errors = 0
                text = f"Round {number}: {headline(task_of(job.spec)[1], metrics) or 'measured'}"
                jobs.add_event(session, job.id, time.time(), "round-measured", text, round=number)


def _quality(s: Store, job_id: str, number: int, work: Workload, watch: Watch) -> dict[str, float]:
    """Metrics of the global model; where models are personal, of what the clients measured."""
    if work.method.is_personal:
        return _reported(s, job_id, number)
    work.global_model.materialize(_watched(s.chain(job_id, number), watch))
    return work.evaluate(watch.check)


def _reported(s: Store, job_id: str, number: int) -> dict[str, float]:
    """A round's metrics where models are personal: from what its clients measured."""
    with reading(s.engine) as session:
        seats = buffered.counted(session, job_id, number)
        return round_metrics(Report(c.client, c.num_examples, c.metrics) for c in seats)


def _watched(chain: Sequence[StateRef], watch: Watch) -> list[StateRef]:
    """The chain, whose states can no longer be had once the work is useless."""

    def fetch(ref: StateRef) -> Payload:
        watch.check()
        return ref.fetch()

    return [StateRef(ref.digest, partial(fetch, ref)) for ref in chain]


def _inputs(
    s: Store, job_id: str, number: int, watch: Watch
) -> tuple[Payload, list[Counted], Payload | None]:
    """The state before the round, the updates that are counted in it in order of clients, and what
    the server's optimizer remembers."""
    with reading(s.engine) as session:
        found = rounds.all_of(session, job_id)
        states = {row.number: row.digest or "" for row in found}
        remembered = next(row.server_digest for row in found if row.number == number - 1)
        seats = buffered.counted(session, job_id, number)

    def update(digest: str) -> Update:
        watch.check()
        return unpack(s.blobs.read(digest))

    def one(seat: Assignment) -> Counted:
        own, began = seat.digest or "", states[seat.number - 1]
        late, state = number - seat.number, partial(s.payload, began)
        return Counted(late, partial(update, own), state, seat.client)

    server = None if remembered is None else s.payload(remembered)
    return s.payload(states[number - 1]), [one(seat) for seat in seats], server


@dataclass(frozen=True)
class _Result:
    """What an aggregation gave."""

    fence: str
    kept: Sequence[safekeeping.Kept]
    values: dict[str, object]  # of the round's row
    state: Payload


def _close(s: Store, job: Job, number: int, result: _Result) -> bool:
    values = result.values
    opening = Opening(s, job, number + 1, result.state) if number < job.rounds else None
    if opening is not None:
        opening.keep_blobs(s)
    now = time.time()
    with writing(s.engine) as session:
        goes_on = is_running(session, job.id)
        if not rounds.close(session, job.id, number, result.fence, closed_at=now, **values):
            return False
        for kept in result.kept:
            safekeeping.refer(session, kept)
        rounds.note(session, job.id, number - 1, {"server_digest": None})
        row = session.get_one(Job, job.id)
        row.rounds_closed, row.errors = number, 0
        jobs.add_event(session, job.id, now, "round-closed", f"Round {number} closed")
        action = engine.next_action(view_of(session, row), now, s.settings.quorum)
        if not goes_on or opening is None or not isinstance(action, engine.Open):
            return True  # the job is paused, or finishes
        opening.write(session)
    queue.hint_training(len(opening.clients))
    return True


def extend(s: Store, job: Job, number: int) -> None:
    """Gives a round that is below its quorum at its deadline the same time again, once."""
    now = time.time()
    with writing(s.engine) as session:
        row = session.get_one(Round, (job.id, number), with_for_update=True)
        if row.extended or row.state != "collecting":
            return
        row.extended, row.deadline = True, now + rules.timeout_s(job.spec, s.settings)
        text = f"Round {number} has too few updates at its deadline: extended once"
        jobs.add_event(session, job.id, now, "round-extended", text, round=number)


def finish(s: Store, job: Job, reason: str | None = None) -> None:
    """running -> done, with the digest of the final model; its folder is built right away.

    `reason` is why no more rounds are trained. The final model is that of the last closed round.
    """
    work, number = s.workload(job), job.rounds_closed
    with Watch(s, lambda session: is_running(session, job.id), LOOK_S) as watch:
        work.global_model.materialize(_watched(s.chain(job.id, number), watch))
        sha, now = work.global_model.sha256(), time.time()
    ended: dict[str, Any] = {"model_sha256": sha, "finished_at": now, "reason": reason}
    with writing(s.engine) as session:
        if not is_running(session, job.id) or not _is_last(session, job.id, number):
            return
        jobs.move(session, job.id, ("running",), "done", **ended)
        buffered.cancel_uncounted(session, job.id, number)
        jobs.ask_export(session, job.id, number, now)
        jobs.add_event(session, job.id, now, "done", _done_text(job, reason), model_sha256=sha)
    queue.hint_export(job.id, number)


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
