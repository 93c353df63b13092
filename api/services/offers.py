"""Jobs for external clients: which ones a client may join, and that it joins or refuses."""

from __future__ import annotations

import time

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api import queue
from api.client_schemas import JoinedOut, OfferOut, PlaceOut, RefusalOut, Taking
from api.db import externals, jobs
from api.db.session import reading, writing
from api.db.tables import External, Job, Refusal
from api.errors import ApiError, not_found
from api.services import offences, presence
from api.services.callers import Caller
from api.services.views import moment


def listing(engine: Engine, caller: Caller) -> list[OfferOut]:
    """The jobs of the client's project that have not ended and that it may join or has joined."""
    with reading(engine) as session:
        me = session.get_one(External, caller.client)
        found = externals.jobs_for(session, me.project)
        offers = [_offer(session, me, job) for job in found if _is_for(session, me, job)]
    return [offer for offer in offers if offer.client is not None or offer.places]


def _is_for(session: Session, me: External, job: Job) -> bool:
    external = presence.clients_of(job).external
    if external is None:
        return False
    fits = external.select.labels.items() <= me.labels.items()
    return fits or externals.place_of(session, job.id, me.id) is not None


def _offer(session: Session, me: External, job: Job) -> OfferOut:
    place = externals.place_of(session, job.id, me.id)
    refusal = session.get(Refusal, (job.id, me.id))
    there, clients = externals.present(session, job.id), presence.clients_of(job)
    others = there - ({place.client} if place else set())
    return OfferOut(
        job=job.id,
        name=job.name,
        state=job.state,  # type: ignore[arg-type]
        spec=job.spec,
        labels=job.labels or [],
        base_sha256=job.base_sha256,
        client=place.client if place else None,
        places=_free(session, job),
        clients=clients.shares + len(others),
        refused=refusal.reason if refusal else None,
    )


def _free(session: Session, job: Job) -> int:
    clients = presence.clients_of(job)
    return clients.count - clients.shares - len(externals.joined(session, job.id))


def join(engine: Engine, caller: Caller, job_id: str, num_examples: int) -> JoinedOut:
    """Gives the client a place in a job; the one it has, if it asks again.

    ApiError 404 for a job that is not for it, 409 if the job has ended or no place is free, 422 for
    more rows than the job lets a client have.
    """
    now = time.time()
    with writing(engine) as session:
        offences.require_good_standing(caller)
        me, job = _mine(session, caller, job_id)
        clients = presence.clients_of(job)
        assert clients.external is not None
        if num_examples > (most := clients.external.max_examples):
            detail = f"num_examples is {num_examples}; this job allows 1 to {most}"
            raise ApiError(422, "invalid-request", detail)
        place = externals.place_of(session, job_id, me.id)
        if place is None:
            place = externals.free_place(session, job_id, clients.shares)
            if place is None:
                raise ApiError(409, "conflict", f"job {job_id} has no free place")
            place.external, place.joined_at = me.id, now
            text = f"Client {place.client} is {me.name} now, with {num_examples} rows of its own"
            jobs.add_event(session, job_id, now, "joined", text, client=place.client)
        if (refusal := session.get(Refusal, (job_id, me.id))) is not None:
            session.delete(refusal)
        place.num_examples = num_examples
        number = place.client
    queue.hint_advance(job_id)
    return JoinedOut(job=job_id, client=number, num_examples=num_examples)


def refuse(engine: Engine, caller: Caller, job_id: str, reason: str) -> None:
    """Notes that the client does not take part, and why; an event only if the reason is new.

    What it has of the job's work is over: the round goes on without it.
    """
    now = time.time()
    with writing(engine) as session:
        me, _ = _mine(session, caller, job_id)
        why = f"client {me.name} does not take part: {reason}"
        stopped = externals.stop_work(session, me.id, why, job_id)
        _note_refusal(session, me, job_id, reason, now)
    if stopped:
        queue.hint_advance(job_id)


def _note_refusal(session: Session, me: External, job_id: str, reason: str, now: float) -> None:
    row = session.get(Refusal, (job_id, me.id))
    if row is not None and row.reason == reason:
        return
    if row is None:
        row = Refusal(job_id=job_id, external=me.id)
        session.add(row)
    row.reason, row.at = reason, now
    jobs.add_event(session, job_id, now, "refused", f"{me.name} does not take part: {reason}")


def _mine(session: Session, caller: Caller, job_id: str) -> tuple[External, Job]:
    """The calling client and a job that is for it, locked."""
    me = session.get_one(External, caller.client)
    job = session.get(Job, job_id, with_for_update={"key_share": True})
    if job is None or job.project != me.project or not _is_for(session, me, job):
        raise not_found("job", job_id)
    if job.state not in jobs.OPEN_STATES:
        raise ApiError(409, "conflict", f"job {job_id} is {job.state}")
    return me, job


def taking(engine: Engine, job_id: str) -> Taking:
    """Who takes part in a job from outside, who refuses, and who is missing."""
    with reading(engine) as session:
        job = session.get_one(Job, job_id)
        there = externals.present(session, job_id)
        return Taking(
            items=[
                PlaceOut(
                    client=place.client,
                    id=row.id,
                    name=row.name,
                    num_examples=place.num_examples,
                    present=place.client in there,
                    status=row.status,
                    heartbeat_at=moment(row.heartbeat_at),
                    joined_at=moment(place.joined_at),
                )
                for place, row in externals.joined(session, job_id)
            ],
            refusals=[
                RefusalOut(id=row.id, name=row.name, reason=one.reason, at=moment(one.at))
                for one, row in externals.refusals(session, job_id)
            ],
            places=_free(session, job),
            lacks=presence.missing(session, job) if job.state in jobs.OPEN_STATES else None,
        )
