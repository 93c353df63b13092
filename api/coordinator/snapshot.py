"""A job's rows as the engine sees them: the one view that every decision is made on."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from api.db import buffered, jobs, rounds
from api.db.tables import Job
from fedkrso_core import engine
from fedkrso_core.budget import Account, NextRound, Spent, is_limited, upload_of
from fedkrso_core.rounds_spec import of_stored
from fedkrso_core.spec import BudgetSpec


def view_of(session: Session, job: Job) -> engine.JobView:
    """The job as it stands in this transaction."""
    row = rounds.open_round(session, job.id)
    if row is None:
        return engine.JobView(job.rounds, job.rounds_closed, account=_account(session, job))
    spec = of_stored(job.spec["rounds"])
    buffer = spec.closes_at(job.spec["clients"]["per_round"]) if spec.buffered else None
    found = (
        rounds.seats(session, job.id, row.number)
        if buffer is None
        else buffered.of_open_round(session, job.id, row.number)
    )
    seats = tuple(engine.Seat(seat.client, seat.state) for seat in found)  # type: ignore[arg-type]
    state = "aggregating" if row.state == "aggregating" else "collecting"
    view = engine.RoundView(row.number, state, row.deadline, row.extended, seats, buffer)  # type: ignore[arg-type]
    return engine.JobView(job.rounds, job.rounds_closed, view)


def _account(session: Session, job: Job) -> Account | None:
    """What the job used of its budget; None without one."""
    budget = BudgetSpec.model_validate(job.spec.get("budget") or {})
    if not is_limited(budget):
        return None
    now, following = time.time(), job.rounds_closed + 1
    up, lost, updates, memory = jobs.spent(session, job.id)
    spent = Spent(up, lost, updates, memory, now - (job.started_at or now))
    upload = upload_of(jobs.forecast_up(session, job.id), following)
    return Account(budget, spent, NextRound(following, upload, rounds.quickest_s(session, job.id)))
