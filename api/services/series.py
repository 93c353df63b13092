"""Curves of jobs, thinned out to as many points as a chart can show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from sqlalchemy import Engine, Row
from sqlalchemy.orm import Session

from api.db import series
from api.db.series import Sums
from api.db.session import reading
from api.db.tables import Job
from api.series_schemas import PointOut, SeriesOut
from api.services.callers import Caller, visible_job
from fedkrso_core.tasks import task_of


def of_jobs(engine: Engine, caller: Caller, job_ids: Sequence[str], points: int) -> list[SeriesOut]:
    """The curves of some jobs; ApiError 404 for one that the caller does not see."""
    with reading(engine) as session:
        wanted = dict.fromkeys(job_ids)
        return [_series(session, visible_job(session, caller, job), points) for job in wanted]


def _series(session: Session, job: Job, points: int) -> SeriesOut:
    _, task = task_of(job.spec)
    return SeriesOut(
        id=job.id,
        name=job.name,
        state=job.state,  # type: ignore[arg-type]
        method=job.spec["method"]["name"],
        headline=task.metric,
        higher_is_better=task.higher_is_better,
        rounds=job.rounds,
        rounds_closed=job.rounds_closed,
        points=_thinned(_points(session, job), points),
    )


def _points(session: Session, job: Job) -> list[PointOut]:
    rows, sums = series.closed(session, job.id), series.sums(session, job.id)
    taken = [sums.get(row.number, Sums()) for row in rows]
    up = accumulate(one.bytes_up for one in taken)
    down = accumulate(one.bytes_down for one in taken)
    stopped = accumulate(row.stopped_s for row in rows)
    began = job.started_at or job.created_at
    return [
        PointOut(
            round=row.number,
            metrics=row.metrics,
            elapsed_s=round(row.closed_at - began - stopped_s, 3),
            bytes_up=bytes_up,
            bytes_down=bytes_down,
            peak_memory_bytes=one.peak_memory_bytes,
            seconds=_seconds(row, one),
        )
        for row, one, bytes_up, bytes_down, stopped_s in zip(
            rows, taken, up, down, stopped, strict=True
        )
    ]


def _seconds(row: Row[Any], taken: Sums) -> dict[str, float]:
    whole = row.closed_at - row.opened_at - row.stopped_s
    parts = {
        "train": taken.train_s,
        # a client that goes on with an old lease may have trained before it
        "transfer": max(0.0, taken.leased_s - taken.train_s),
        "aggregate": row.aggregate_s,
    }
    parts["wait"] = max(0.0, whole - sum(parts.values()))
    return {name: round(seconds, 3) for name, seconds in parts.items()}


def _thinned(every: Sequence[PointOut], most: int) -> list[PointOut]:
    """At most so many points, the last round always among them."""
    size = -(-len(every) // most)
    # buckets are counted from the end, so that the last one ends with the last round
    ends = range(len(every), 0, -size) if every else ()
    buckets = [every[max(0, end - size) : end] for end in ends]
    return [_joined(bucket, is_last=at == 0) for at, bucket in enumerate(buckets)][::-1]


def _joined(bucket: Sequence[PointOut], is_last: bool) -> PointOut:
    """One point for a few rounds: the last of them that was measured.

    The end of the job is shown as it is: its metrics may be those of a round shortly before it.
    """
    measured = [point for point in bucket if point.metrics]
    shown = measured[-1] if measured and not is_last else bucket[-1]
    names = shown.seconds
    means = {name: sum(p.seconds[name] for p in bucket) / len(bucket) for name in names}
    return shown.model_copy(
        update={
            "peak_memory_bytes": max(point.peak_memory_bytes for point in bucket),
            "seconds": {name: round(mean, 3) for name, mean in means.items()},
        }
    )
