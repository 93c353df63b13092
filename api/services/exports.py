"""Model folders: asked for here, built by a coordinator, kept as blobs."""

from __future__ import annotations

import time

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.db.session import writing
from api.db.tables import Export, Job, Round
from api.errors import ApiError, not_found

_RETRY_S = 30.0


def request(engine: Engine, job_id: str, number: int | None) -> Export:
    """The export of a round (default: the last closed one), started if nobody has yet.

    ApiError 409 if the round is not closed, or with the reason if building failed just now.
    """
    with writing(engine) as session:
        wanted = _closed_round(session, job_id, number)
        found = session.get(Export, (job_id, wanted))
        failed = found is not None and found.state == "failed"
        if found is not None and failed and time.time() - found.requested_at < _RETRY_S:
            raise ApiError(409, "conflict", f"the model could not be built: {found.error}")
        fresh = found is None or failed
        if found is None:
            found = Export(job_id=job_id, number=wanted)
            session.add(found)
        elif found.state == "ready":
            found.requested_at = time.time()  # it is kept as long as it is asked for
        if fresh:
            found.state, found.requested_at, found.error = "building", time.time(), None
    if fresh:
        queue.hint_export(job_id, wanted)
    return found


def _closed_round(session: Session, job_id: str, number: int | None) -> int:
    # locked, so that nobody deletes the job before its export is on record
    job = session.get(Job, job_id, with_for_update={"read": True, "key_share": True})
    if job is None:
        raise not_found("job", job_id)
    wanted = job.rounds_closed if number is None else number
    row = session.get(Round, (job_id, wanted))
    if row is None or row.state != "closed":
        detail = f"round {wanted} of job {job_id} is not closed; closed: 0 to {job.rounds_closed}"
        raise ApiError(409, "conflict", detail)
    return wanted
