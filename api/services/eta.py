"""When a running job will end, if its rounds go on taking as long as so far."""

from __future__ import annotations

from api.db.tables import Job


def expected(job: Job, last_closed: float | None, now: float) -> float | None:
    """The time of its end on the server's clock; None unless a running job has closed a round.

    Pauses do not count. A job with an open round that takes longer than usual ends later than now.
    """
    if job.state != "running" or not job.rounds_closed or not job.started_at or not last_closed:
        return None
    worked_s = last_closed - job.started_at - job.stopped_s
    remaining = job.rounds - job.rounds_closed
    return max(now, last_closed + remaining * max(0.0, worked_s) / job.rounds_closed)
