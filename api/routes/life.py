"""The life of a job beside submit and cancel: pause, resume, retry, clone, priority."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response, status

from api import guard
from api.deps import BlobStore, Config, Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.schemas import JobOut, PriorityIn
from api.services import life

router = guard.router("/v1/jobs", "jobs", guard.ForMembers)
Changes = Annotated[
    dict[str, Any],
    Body(
        description="Fields of the job file to change; the others stay",
        examples=[{"name": "again", "seed": 1, "local": {"lr": 0.002}}],
    ),
]


@router.post("/{job_id}/pause", responses=problem_responses(404, 409))
def pause(job_id: str, engine: Database) -> JobOut:
    """Takes the job's work back until it is resumed; accepted updates are kept.

    Clients that train for it are told at their next heartbeat. Its deadlines and its time budget
    stand still.
    """
    return life.pause(engine, job_id)


@router.post("/{job_id}/resume", responses=problem_responses(404, 409))
def resume(job_id: str, engine: Database, settings: Config) -> JobOut:
    """Lets a paused job go on where it was, as soon as its turn comes."""
    return life.resume(engine, settings, job_id)


@router.post("/{job_id}/retry", responses=problem_responses(404, 409))
def retry(job_id: str, engine: Database, settings: Config) -> JobOut:
    """Lets a failed job go on from its last closed round; accepted updates are kept."""
    return life.retry(engine, settings, job_id)


@router.post(
    "/{job_id}/clone", status_code=status.HTTP_201_CREATED, responses=problem_responses(404, 409)
)
async def clone(
    job_id: str,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    caller: CallerOf,
    response: Response,
    changes: Changes | None = None,
) -> JobOut:
    """Submits the job's file anew to its project, with the given fields changed.

    409: too many of the project's jobs are open.
    """
    job = await life.clone(engine, blobs, settings, caller, job_id, changes or {})
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.patch("/{job_id}", responses=problem_responses(404, 409))
def change(job_id: str, body: PriorityIn, engine: Database) -> JobOut:
    """Changes the priority of a job that has not ended."""
    return life.prioritize(engine, job_id, body.priority)
