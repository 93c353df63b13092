"""Rows as what the API answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from api.db.tables import Assignment, Event, Job, Round
from api.schemas import EventOut, JobOut, RoundClientOut, RoundOut


def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def job_out(
    job: Job,
    traffic: tuple[int, int, int],
    metrics: dict[str, float],
    waiting_for: str | None = None,
) -> JobOut:
    """A job with the totals of its assignments."""
    up, down, peak = traffic
    created = moment(job.created_at)
    assert created is not None
    return JobOut(
        id=job.id,
        project=job.project,
        created_by=job.created_by,
        name=job.name,
        state=job.state,  # type: ignore[arg-type]
        reason=job.reason,
        waiting_for=waiting_for,
        method=job.spec["method"]["name"],
        model=job.spec["model"],
        rounds=job.rounds,
        rounds_closed=job.rounds_closed,
        metrics=metrics,
        bytes_up=up,
        bytes_down=down,
        peak_memory_bytes=peak,
        created_at=created,
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
        model_sha256=job.model_sha256,
        spec=job.spec,
    )


def round_out(row: Round, seats: Sequence[Assignment]) -> RoundOut:
    """A round with the sums over its clients."""
    return RoundOut(
        round=row.number,
        state=row.state,  # type: ignore[arg-type]
        metrics=row.metrics,
        bytes_up=sum(seat.bytes_up for seat in seats),
        bytes_down=sum(seat.bytes_down for seat in seats),
        peak_memory_bytes=max((seat.peak_memory_bytes or 0 for seat in seats), default=0),
        seconds={
            "train": round(sum(seat.train_s or 0.0 for seat in seats), 3),
            "aggregate": row.aggregate_s,
            "evaluate": row.evaluate_s,
        },
        clients=[seat.client for seat in seats],
        done=sum(seat.state == "done" for seat in seats),
        opened_at=moment(row.opened_at),
        closed_at=moment(row.closed_at),
        deadline=moment(row.deadline),
    )


def client_out(seat: Assignment, steps: int) -> RoundClientOut:
    """What a client of a round is doing; `steps` are those of the job file."""
    return RoundClientOut(
        client=seat.client,
        state=seat.state,  # type: ignore[arg-type]
        attempt=seat.attempt,
        worker=seat.worker,
        step=seat.step,
        steps=steps,
        num_examples=seat.num_examples,
        metrics=seat.metrics,
        bytes_up=seat.bytes_up,
        bytes_down=seat.bytes_down,
        bytes_lost=seat.bytes_lost,
        bytes_up_lost=seat.bytes_up_lost,
        peak_memory_bytes=seat.peak_memory_bytes,
        seconds={} if seat.train_s is None else {"train": seat.train_s},
        leased_at=moment(seat.leased_at),
        heartbeat_at=moment(seat.heartbeat_at),
        done_at=moment(seat.done_at),
        error=seat.error,
    )


def event_out(event: Event) -> EventOut:
    """An event."""
    at = moment(event.at)
    assert at is not None
    return EventOut(id=event.id, at=at, kind=event.kind, text=event.text, data=event.data)


def waiting_for(job: Job, row: Round | None, seats: Sequence[Assignment], now: float) -> str | None:
    """What an open job waits for right now, in words."""
    if job.state == "queued":
        return "a coordinator to start the job"
    if job.state != "running":
        return None
    if row is None:
        what = "finish the job" if job.rounds_closed else "open the first round"
        return f"a coordinator to {what}"
    if row.state == "aggregating":
        return f"the aggregation and evaluation of round {row.number}"
    parts = [_waiting_seat(seat, now) for seat in seats if seat.state in ("pending", "leased")]
    if not parts:
        return f"a coordinator to aggregate round {row.number}"
    return f"round {row.number}: " + "; ".join(parts)


def _waiting_seat(seat: Assignment, now: float) -> str:
    if seat.state == "pending":
        return f"client {seat.client} waits for a worker"
    silent = now - (seat.heartbeat_at or now)
    return f"client {seat.client} trains (step {seat.step}, heartbeat {silent:.0f} s ago)"
