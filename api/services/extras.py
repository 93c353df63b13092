"""Rounds with more clients than it needs: the first updates close it, later ones are refused."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.db import rounds
from api.db.tables import Job
from api.services import rules


def lacks(session: Session, assignment_id: str) -> int | None:
    """How many updates the assignment's round still needs; None if all its clients are needed.

    Locks the round, so that of two updates that come at once one is counted after the other. Call
    it before the assignment is locked, as an aggregation does.
    """
    job_id, number = rounds.place_of(session, assignment_id)
    spec = session.get_one(Job, job_id).spec
    target = rules.target(spec)
    if target is None or not spec["clients"].get("select_extra"):
        return None
    return target - rounds.count_done_locked(session, job_id, number)
