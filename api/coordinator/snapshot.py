"""A job's rows as the engine sees them: the one view that every decision is made on."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from api.db import buffered, jobs, rounds
from api.db.tables import Job
from api.services import presence, rules
from fedkrso_core import engine
from fedkrso_core.budget import Account, NextRound, Spent, is_limited, upload_of
from fedkrso_core.spec import BudgetSpec


def view_of(session: Session, job: Job) -> engine.JobView:
    """The job as it stands in this transaction."""
    row, evaluation = rounds.open_round(session, job.id), _evaluation(session, job)
    if row is None:
        return engine.JobView(
            job.rounds,
            job.rounds_closed,
            account=_account(session, job),
            lacks=presence.missing(session, job),
            patience_until=presence.patience_until(session, job),
            **evaluation,
        )
    seats = tuple(
        engine.Seat(seat.client, seat.state)  # type: ignore[arg-type]
        for seat in buffered.seats_of_open(session, job, row.number)
    )
    state = "aggregating" if row.state == "aggregating" else "collecting"
    view = engine.RoundView(
        row.number,
        state,  # type: ignore[arg-type]
        row.deadline,
        row.extended,
        seats,
        target=rules.target(job.spec),
        least=rules.least(job.spec),
    )
    return engine.JobView(job.rounds, job.rounds_closed, view, **evaluation)


def _evaluation(session: Session, job: Job) -> dict[str, Any]:
    """What of a job's closed rounds is still to be measured, as JobView says it."""
    without, now = rounds.unmeasured(session, job.id), time.time()
    due = [n for n, _ in without if rules.evaluates(job.spec, n)]
    return {
        "unmeasured": due[0] if due else None,
        "measuring": any(until is not None and until > now for _, until in without),
        "last_measured": job.rounds_closed not in {n for n, _ in without},
    }


def _account(session: Session, job: Job) -> Account | None:
    """What the job used of its budget; None without one."""
    budget = BudgetSpec.model_validate(job.spec.get("budget") or {})
    if not is_limited(budget):
        return None
    now, following = time.time(), job.rounds_closed + 1
    up, lost, updates, memory = jobs.spent(session, job.id)
    seconds = now - (job.started_at or now) - job.stopped_s
    spent = Spent(up, lost, updates, memory, seconds)
    upload = upload_of(jobs.forecast_up(session, job.id), following)
    return Account(budget, spent, NextRound(following, upload, rounds.quickest_s(session, job.id)))
