"""External clients as what the API answers: what they are, and what they do right now."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from sqlalchemy.orm import Session

from api.client_schemas import ExternalOut, Hardware, TurnedDownOut, WorkOut
from api.db import externals
from api.db.tables import Assignment, External, Job, Refusal
from api.services.views import moment


def out(session: Session, row: External) -> ExternalOut:
    """The client as the routes show it."""
    return described(session, [row])[0]


def described(session: Session, rows: Sequence[External]) -> list[ExternalOut]:
    """The same of several, in as many queries."""
    ids = [row.id for row in rows]
    keys, work, refuses = defaultdict(list), defaultdict(list), defaultdict(list)
    for client, key in externals.valid_keys(session, ids, time.time()):
        keys[client].append(key)
    for client, seat, job in externals.work_of(session, ids):
        work[client].append(_work(seat, job))
    for refusal, name in externals.open_refusals(session, ids):
        refuses[refusal.external].append(_turned_down(refusal, name))
    return [_out(row, keys[row.id], work[row.id], refuses[row.id]) for row in rows]


def _out(
    row: External, keys: list[str], work: list[WorkOut], refuses: list[TurnedDownOut]
) -> ExternalOut:
    return ExternalOut(
        id=row.id,
        name=row.name,
        project=row.project,
        labels=row.labels,
        state=_state(row),
        offences=row.offences,
        offence=row.offence,
        quarantined_at=moment(row.quarantined_at),
        created_at=moment(row.created_at),
        heartbeat_at=moment(row.heartbeat_at),
        version=row.version,
        hardware=Hardware(**row.hardware),
        status=row.status,
        work=work,
        refuses=refuses,
        keys=keys,
    )


def _work(seat: Assignment, job: Job) -> WorkOut:
    return WorkOut(
        job=job.id,
        name=job.name,
        round=seat.number,
        client=seat.client,
        step=seat.step,
        steps=job.spec["local"]["steps"],
        leased_at=moment(seat.leased_at),
    )


def _turned_down(row: Refusal, name: str) -> TurnedDownOut:
    return TurnedDownOut(job=row.job_id, name=name, reason=row.reason, at=moment(row.at))


def _state(row: External) -> Literal["active", "quarantined", "revoked"]:
    if row.revoked_at is not None:
        return "revoked"
    return "active" if row.quarantined_at is None else "quarantined"
