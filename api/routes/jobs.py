"""Jobs: create, list, get, cancel; their rounds, clients, events and model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import Header, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api import guard
from api.deps import BlobStore, Config, Database
from api.errors import is_outage, problem_responses
from api.guard import CallerOf
from api.routes.downloads import ELSEWHERE, IfNoneMatch, blob_answer
from api.schemas import (
    BuildingOut,
    EstimateOut,
    EventOut,
    Int32,
    JobOut,
    JobPage,
    JobSort,
    JobState,
    RoundClientOut,
    RoundOut,
)
from api.services import callers, estimates, exports, job_rows, jobs, projects
from api.services.callers import Caller
from fedkrso_core.spec import JobSpec

router = guard.router("/v1/jobs", "jobs", guard.ForMembers)
_POLL_S = 0.5
# a stream ends so long after its key was revoked
_RECHECK_S = 10.0
InProject = Annotated[str | None, Query(description="Name of a project", max_length=64)]


class Rounds(BaseModel):
    """The rounds of a job."""

    items: list[RoundOut]


class RoundClients(BaseModel):
    """The clients of a round."""

    items: list[RoundClientOut]


class Events(BaseModel):
    """Events of a job, oldest first."""

    items: list[EventOut]


@router.post("", status_code=status.HTTP_201_CREATED, responses=problem_responses(404, 409))
async def create(
    spec: JobSpec,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    caller: CallerOf,
    response: Response,
    project: InProject = None,
) -> JobOut:
    """Submits a job. It is checked against its model, data and budget before it is stored.

    `project` is by default `default`, or the only project of the caller. 409: too many of the
    project's jobs are open.
    """
    chosen = projects.choose(caller, project)
    place = projects.Place(chosen, caller.user, settings.max_open_jobs)
    job = await jobs.submit(engine, blobs, spec, place)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.post(":estimate")
async def estimate(
    spec: JobSpec,
    engine: Database,
    blobs: BlobStore,
    caller: CallerOf,
    methods: Annotated[
        str, Query(description="To compare with: names separated by commas, or all")
    ] = "",
) -> EstimateOut:
    """What a job will take: bytes, memory and time of a client. Nothing is stored.

    Memory and time are calculated, for a machine like the service's, whose speed the first
    estimate measures. Estimates wait for each other.
    """
    names = [name.strip() for name in methods.split(",") if name]
    await run_in_threadpool(job_rows.prepare, engine, blobs, spec.data, caller.projects)
    return await estimates.alone(lambda: estimates.estimate(spec, names))


@router.get("", responses=problem_responses(404))
def index(
    engine: Database,
    caller: CallerOf,
    state: JobState | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    project: InProject = None,
    search: Annotated[
        str, Query(max_length=100, description="Part of a name, an id, a submitter or a method")
    ] = "",
    sort: JobSort = "newest",
    curve: Annotated[
        int, Query(ge=0, le=200, description="Most points of each job's `curve`; 0: none")
    ] = 0,
) -> JobPage:
    """Jobs of the caller's projects, newest first; `after` is the `next` of the page before."""
    wanted = jobs.Wanted(state, search.strip(), sort, after, limit, curve)
    return jobs.page(engine, caller, wanted, project)


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
def rounds(
    job_id: str,
    engine: Database,
    last: Annotated[int | None, Query(ge=1, le=1000, description="Only so many newest")] = None,
) -> Rounds:
    """The rounds opened so far, in order."""
    return Rounds(items=jobs.rounds_of(engine, job_id, last))


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
    caller: CallerOf,
    format: Literal["sse", "json"] = "sse",
    after: Int32 = 0,
    last: Annotated[int | None, Query(ge=1, le=500, description="As JSON: so many newest")] = None,
    last_event_id: Annotated[Int32 | None, Header()] = None,
) -> Response:
    """Events as they happen (server-sent events, resumable), or those so far as JSON."""
    if format == "json" and last is not None:
        newest = await run_in_threadpool(jobs.newest_events, engine, job_id, last)
        return JSONResponse(Events(items=newest).model_dump(mode="json"))
    start = after if last_event_id is None else last_event_id
    first, ended = await run_in_threadpool(jobs.events, engine, job_id, start)
    if format == "json":
        return JSONResponse(Events(items=first).model_dump(mode="json"))
    return EventSourceResponse(_stream(engine, caller, job_id, start, first, ended))


async def _stream(
    engine: Engine, caller: Caller, job_id: str, after: int, found: list[EventOut], ended: bool
) -> AsyncIterator[bytes]:
    """Encodes the events found after `after`, and asks for later ones until the job has ended."""
    recheck = time.monotonic() + _RECHECK_S
    while True:
        for event in found:
            yield format_sse_event(
                data_str=event.model_dump_json(), event=event.kind, id=str(event.id)
            )
            after = event.id
        if ended:
            return
        await asyncio.sleep(_POLL_S)
        try:
            if time.monotonic() >= recheck:
                if not await run_in_threadpool(callers.still_sees, engine, caller, job_id):
                    return
                recheck = time.monotonic() + _RECHECK_S
            found, ended = await run_in_threadpool(jobs.events, engine, job_id, after)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            found = []  # the stream outlasts it


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
    request: Request,
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
    kind = "application/zip"
    return blob_answer(request, blobs, settings, ready.digest, if_none_match, kind, name)
