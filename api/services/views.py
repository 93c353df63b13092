"""Rows as what the API answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, overload

from api.db.jobs import OPEN_STATES
from api.db.tables import Assignment, Event, Job, Round
from api.schemas import Evaluation, EventOut, JobOut, RoundClientOut, RoundOut
from api.services import holdout, rules
from api.services.round_seats import RoundSeats
from fedkrso_core.rounds_spec import of_stored
from fedkrso_core.tasks import task_of


@overload
def moment(seconds: float) -> datetime: ...
@overload
def moment(seconds: float | None) -> datetime | None: ...
def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def job_out(
    job: Job,
    traffic: tuple[int, int, int],
    measured: Sequence[tuple[int, dict[str, float]]],
    with_curve: bool = False,
) -> JobOut:
    """A job with the totals of its assignments and, in order, some of its measured rounds."""
    up, down, peak = traffic
    task = _task(job)
    curve = [(at, m[task["headline"]]) for at, m in measured if task["headline"] in m]
    return JobOut(
        id=job.id,
        project=job.project,
        created_by=job.created_by,
        name=job.name,
        state=job.state,  # type: ignore[arg-type]
        reason=job.reason,
        priority=job.priority,
        method=job.spec["method"]["name"],
        model=job.spec["model"],
        **task,
        rounds=job.rounds,
        rounds_closed=job.rounds_closed,
        metrics=measured[-1][1] if measured else {},
        bytes_up=up,
        bytes_down=down,
        peak_memory_bytes=peak,
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
        base_sha256=job.base_sha256,
        model_sha256=job.model_sha256,
        curve=curve if with_curve else [],
        spec=job.spec,
    )


def _task(job: Job) -> dict[str, Any]:
    name, task = task_of(job.spec)
    return {"task": name, "headline": task.metric, "higher_is_better": task.higher_is_better}


def _evaluation(row: Round, job: Job) -> Evaluation:
    """Whether the round's model was measured, or will be."""
    if row.measured_at is not None:
        return "done"
    ends = job.state not in OPEN_STATES
    return "due" if rules.evaluates(job.spec, row.number) and not ends else "none"


def round_out(job: Job, row: Round, seats: RoundSeats) -> RoundOut:
    """A round with the sums over its clients."""
    handed_in = seats.handed_in
    return RoundOut(
        round=row.number,
        state=row.state,  # type: ignore[arg-type]
        metrics=row.metrics,
        evaluation=_evaluation(row, job),
        bytes_up=sum(seat.bytes_up for seat in handed_in),
        bytes_down=sum(seat.bytes_down for seat in seats.begun),
        peak_memory_bytes=max((seat.peak_memory_bytes or 0 for seat in handed_in), default=0),
        seconds={
            "train": round(sum(seat.train_s or 0.0 for seat in handed_in), 3),
            "aggregate": row.aggregate_s,
            "evaluate": row.evaluate_s,
        },
        clients=[seat.client for seat in seats.members],
        staleness=[row.number - seat.number for seat in seats.members],
        done=sum(seat.state == "done" for seat in seats.members),
        holdout=holdout.summary(seats.begun),
        opened_at=moment(row.opened_at),
        closed_at=moment(row.closed_at),
        deadline=moment(row.deadline),
    )


def client_out(seat: Assignment, job: Job) -> RoundClientOut:
    """What a client of a round is doing, and what became of its update."""
    late = None if seat.counted_in is None else seat.counted_in - seat.number
    return RoundClientOut(
        round=seat.number,
        counted_in=seat.counted_in,
        staleness=late,
        weight=None if late is None else of_stored(job.spec["rounds"]).weight(late),
        client=seat.client,
        state=seat.state,  # type: ignore[arg-type]
        attempt=seat.attempt,
        worker=seat.worker,
        step=seat.step,
        steps=job.spec["local"]["steps"],
        num_examples=seat.num_examples,
        metrics=seat.metrics,
        holdout=(seat.holdout or {}).get("metrics", {}),
        bytes_up=seat.bytes_up,
        bytes_down=seat.bytes_down,
        checkpoint=seat.checkpoint_round,
        bytes_lost=seat.bytes_lost,
        bytes_up_lost=seat.bytes_up_lost,
        peak_memory_bytes=seat.peak_memory_bytes,
        seconds={} if seat.train_s is None else {"train": seat.train_s},
        offered_at=moment(seat.created_at),
        leased_at=moment(seat.leased_at),
        heartbeat_at=moment(seat.heartbeat_at),
        done_at=moment(seat.done_at),
        error=seat.error,
    )


def event_out(event: Event) -> EventOut:
    """An event."""
    return EventOut(
        id=event.id, at=moment(event.at), kind=event.kind, text=event.text, data=event.data
    )
