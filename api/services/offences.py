"""What external clients do that no honest one does: counted, shown, and at some point enough."""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api import queue
from api.client_schemas import ExternalOut
from api.db import audit, externals, jobs
from api.db.session import writing
from api.db.tables import Assignment, External
from api.errors import ApiError
from api.services import enrolment, external_views
from api.services.callers import Caller

_log = logging.getLogger("api.offences")
# a lease that was lost, or a request that came too late, can happen to everybody
KINDS = frozenset(
    {
        "invalid-update",
        "not-finite",
        "not-found",
        "replayed-update",
        "too-large",
        "too-large-norm",
        "unsupported-encoding",
        "wrong-digest",
        "wrong-scalars",
        "wrong-tensors",
    }
)


def require_good_standing(caller: Caller) -> None:
    """ApiError 403 for a client in quarantine."""
    if caller.quarantined is not None:
        detail = f"this client is in quarantine until an operator releases it: {caller.quarantined}"
        raise ApiError(403, "quarantined", detail)


def note(
    engine: Engine, client: str, kind: str, detail: str, assignment_id: str, enough: int
) -> None:
    """Counts an offence; with `enough` of them the client is quarantined and its work ended.

    The refusal is answered even if that fails.
    """
    if kind not in KINDS:
        return
    try:
        with writing(engine) as session:
            stopped = _note(session, client, f"{kind}: {detail}", assignment_id, enough)
    except SQLAlchemyError as error:
        _log.warning("an offence of client %s was not noted: %s", client, type(error).__name__)
        return
    for job_id in stopped:
        queue.hint_advance(job_id)


def _note(session: Session, client: str, what: str, assignment_id: str, enough: int) -> list[str]:
    seat = session.get(Assignment, assignment_id)
    if seat is None:  # its job was deleted, say
        return []
    row = session.get_one(External, client, with_for_update=True)
    row.offences, row.offence = row.offences + 1, what
    now, text = time.time(), f"{row.name}: refused ({row.offences} of {enough}), {what}"
    quarantined = row.offences >= enough and row.quarantined_at is None
    stopped: list[str] = []
    if quarantined:
        row.quarantined_at = now
        stopped = list(externals.stop_work(session, client, f"client {row.name} is in quarantine"))
    session.flush()
    if externals.holds(
        session, client, assignment_id
    ):  # what it did to others is no event of their job
        jobs.add_event(session, seat.job_id, now, "offence", text, client=seat.client)
    _log.warning("%s", text)
    if quarantined:
        reason = f"{row.name} is in quarantine after {row.offences} offences"
        for job_id in externals.open_jobs_of(session, client):
            jobs.add_event(session, job_id, now, "quarantined", reason)
    return stopped


def release(engine: Engine, caller: Caller, client_id: str) -> ExternalOut:
    """Ends a quarantine, and forgets the offences so far; harmless without one."""
    now = time.time()
    with writing(engine) as session:
        row = enrolment.visible(session, caller, client_id)
        audit.about(project=row.project, detail=f"client {row.name!r}, {row.offences} offences")
        was = row.quarantined_at is not None
        row.offences, row.quarantined_at = 0, None
        affected = externals.open_jobs_of(session, client_id) if was else []
        for job_id in affected:
            text = f"{row.name} was released from its quarantine"
            jobs.add_event(session, job_id, now, "released", text)
        out = external_views.out(session, row)
    for job_id in affected:
        queue.hint_advance(job_id)
    return out
