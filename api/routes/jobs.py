"""Jobs: create, list, get, cancel; their rounds, clients, events and model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel
from sqlalchemy import Engine

from api.deps import BlobStore, Config, Database, require_user
from api.errors import problem_responses
from api.routes.downloads import ELSEWHERE, IfNoneMatch, blob_answer
from api.schemas import (
    BuildingOut,
    EstimateOut,
    EventOut,
    Int32,
    JobOut,
    JobPage,
    JobState,
    RoundClientOut,
    RoundOut,
)
from api.services import estimates, exports, jobs
from fedkrso_core.spec import JobSpec

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    dependencies=[Depends(require_user)],
    responses=problem_responses(401, 403, 422),
)
_POLL_S = 0.5


class Rounds(BaseModel):
    """The rounds of a job."""

    items: list[RoundOut]


class RoundClients(BaseModel):
    """The clients of a round."""

    items: list[RoundClientOut]


class Events(BaseModel):
    """Events of a job, oldest first."""

    items: list[EventOut]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create(spec: JobSpec, engine: Database, response: Response) -> JobOut:
    """Submits a job. It is checked against its model, data and budget before it is stored."""
    job = await jobs.submit(engine, spec)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.post(":estimate")
async def estimate(
    spec: JobSpec,
    methods: Annotated[
        str, Query(description="To compare with: names separated by commas, or all")
    ] = "",
) -> EstimateOut:
    """What a job will take: bytes, memory and time of a client. Nothing is stored.

    Memory and time are calculated, for a machine like the service's, whose speed the first
    estimate measures. Estimates wait for each other.
    """
    names = [name.strip() for name in methods.split(",") if name]
    return await estimates.alone(lambda: estimates.estimate(spec, names))


@router.get("", responses=problem_responses(404))
def index(
    engine: Database,
    state: JobState | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobPage:
    """Jobs, newest first; `after` is the `next` of the page before."""
    return jobs.page(engine, state, after, limit)


@router.get("/{job_id}", responses=problem_responses(404))
def get(job_id: str, engine: Database) -> JobOut:
    """One job, with what it waits for right now."""
    return jobs.get(engine, job_id)


@router.post("/{job_id}/cancel", responses=problem_responses(404, 409))
def cancel(job_id: str, engine: Database) -> JobOut:
    """Stops a job; clients that train for it are told at their next heartbeat."""
    return jobs.cancel(engine, job_id)


@router.delete("/{job_id}", status_code=204, responses=problem_responses(404, 409))
def delete(job_id: str, engine: Database) -> None:
    """Removes an ended job with everything that is kept of it."""
    jobs.delete(engine, job_id)


@router.get("/{job_id}/rounds", responses=problem_responses(404))
def rounds(job_id: str, engine: Database) -> Rounds:
    """The rounds opened so far, in order."""
    return Rounds(items=jobs.rounds_of(engine, job_id))


@router.get("/{job_id}/rounds/{number}/clients", responses=problem_responses(404))
def round_clients(job_id: str, number: Int32, engine: Database) -> RoundClients:
    """What each client of a round is doing."""
    return RoundClients(items=jobs.round_clients(engine, job_id, number))


@router.get(
    "/{job_id}/events",
    response_model=Events,
    responses={
        **problem_responses(404),
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events or JSON"},
    },
)
async def events(
    job_id: str,
    engine: Database,
    format: Literal["sse", "json"] = "sse",
    after: Int32 = 0,
    last_event_id: Annotated[Int32 | None, Header()] = None,
) -> Response:
    """Events as they happen (server-sent events, resumable), or those so far as JSON."""
    start = after if last_event_id is None else last_event_id
    first, ended = await run_in_threadpool(jobs.events, engine, job_id, start)
    if format == "json":
        return JSONResponse(Events(items=first).model_dump(mode="json"))
    return EventSourceResponse(_stream(engine, job_id, start, first, ended))


async def _stream(
    engine: Engine, job_id: str, after: int, found: list[EventOut], ended: bool
) -> AsyncIterator[bytes]:
    """Encodes the events found after `after`, and asks for later ones until the job has ended."""
    while True:
        for event in found:
            yield format_sse_event(
                data_str=event.model_dump_json(), event=event.kind, id=str(event.id)
            )
            after = event.id
        if ended:
            return
        await asyncio.sleep(_POLL_S)
        found, ended = await run_in_threadpool(jobs.events, engine, job_id, after)


@router.get(
    "/{job_id}/model",
    responses={
        **problem_responses(404, 409),
        200: {
            "content": {"application/zip": {}},
            "description": "rounds.jsonl, summary.json, model/",
        },
        202: {"model": BuildingOut, "description": "Being built: ask again after Retry-After"},
        **ELSEWHERE,
    },
)
def model(
    job_id: str,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    round: Annotated[Int32 | None, Query(description="Default: the last closed one")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The model folder of a round as a zip."""
    ready = exports.request(engine, job_id, round)
    if ready.digest is None:
        return JSONResponse(BuildingOut().model_dump(), 202, {"Retry-After": "1"})
    name = f"{job_id}-round-{ready.number}.zip"
    return blob_answer(blobs, settings, ready.digest, if_none_match, "application/zip", name)
