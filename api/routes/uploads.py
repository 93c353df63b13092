"""Rows that jobs may name: upload, list, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request, status

from api import guard
from api.deps import BlobStore, Config, Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.services import projects, room, uploads
from api.upload_schemas import UploadOut, Uploads

router = guard.router("/v1/uploads", "uploads", guard.ForMembers)
InProject = Annotated[str | None, Query(description="Name of a project", max_length=64)]
FileName = Annotated[
    str,
    Query(
        max_length=200,
        pattern=r"^[^/\\\x00-\x1f]+$",
        description="The file's name without its folder; the ending says what it is",
    ),
]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problem_responses(404, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def create(
    request: Request,
    name: FileName,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    caller: CallerOf,
    project: InProject = None,
    content_length: Annotated[int | None, Header(ge=0)] = None,
) -> UploadOut:
    """Uploads a file of rows: the body is the file.

    It is read once, and refused if that fails. The same bytes again are answered as the first
    time. `project` is chosen as for a job.
    """
    sent = uploads.Sent(name, projects.choose(caller, project), caller.user)
    async with room.told(engine, settings, None, content_length):
        return await uploads.receive(
            engine, blobs, settings, sent, content_length, request.stream()
        )


@router.get("", responses=problem_responses(404))
def index(engine: Database, caller: CallerOf, project: InProject = None) -> Uploads:
    """Uploads of the caller's projects, newest first."""
    return Uploads(items=uploads.listing(engine, caller, project))


@router.delete("/{source}", status_code=204, responses=problem_responses(404, 409))
def delete(source: str, engine: Database, caller: CallerOf, project: InProject = None) -> None:
    """Takes an upload away from a project; 409 while a job that has not ended names it."""
    uploads.delete(engine, source, projects.choose(caller, project))
