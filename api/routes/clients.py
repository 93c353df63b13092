"""Assignments for training clients. See docs/http-protocol.md for the whole exchange."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request, Response, status
from fastapi.responses import FileResponse, JSONResponse

from api import guard
from api.assignment_schemas import (
    AcceptedOut,
    AssignmentOut,
    ClaimIn,
    FailIn,
    GoneOut,
    HeartbeatIn,
    JobsIn,
    LeaseOut,
    ReceivedOut,
    ReportIn,
)
from api.client_schemas import HoldoutIn
from api.deps import BlobStore, Config, Database, LeaseToken
from api.errors import problem_responses
from api.guard import CallerOf
from api.routes.downloads import ELSEWHERE, IfNoneMatch, blob_answer, goes_on, has_it
from api.services import handing_in, jobs, long_poll, room, work
from api.services.pace import CLAIM_AGAIN_S

router = guard.router("/v1/assignments", "clients", guard.ForWorkers)

Digest = Annotated[str, Header(alias="X-Content-SHA256", pattern="^[0-9a-f]{64}$")]
_PIECES = "bytes FIRST-LAST/TOTAL, or bytes */TOTAL when all of it is here"
_RETRY_AFTER = {
    "Retry-After": {"description": "Ask again after so many seconds", "schema": {"type": "integer"}}
}


@router.post(
    "/claim",
    response_model=AssignmentOut,
    responses={204: {"description": "Nothing to do", "headers": _RETRY_AFTER}},
)
async def claim(
    body: ClaimIn, request: Request, engine: Database, settings: Config, caller: CallerOf
) -> AssignmentOut | Response:
    """Leases the oldest waiting assignment to the caller; of its own to an external client.

    With `wait_s` the answer comes as soon as there is something to do, or a job to join.
    """
    found = await long_poll.claim(request, engine, settings, body, caller.client)
    if found is not None:
        return found
    return Response(
        status_code=status.HTTP_204_NO_CONTENT, headers={"Retry-After": str(CLAIM_AGAIN_S)}
    )


@router.post("/gone")
def gone(body: JobsIn, engine: Database) -> GoneOut:
    """Which of these jobs were deleted: a client forgets what it keeps of them."""
    return GoneOut(gone=jobs.gone(engine, body.jobs))


@router.post("/{assignment_id}/heartbeat", responses=problem_responses(404, 409))
def heartbeat(
    assignment_id: str, body: HeartbeatIn, token: LeaseToken, engine: Database, settings: Config
) -> LeaseOut:
    """Extends the lease. 409: it is lost or the job was cancelled; stop working on it."""
    return work.heartbeat(engine, assignment_id, token, body.step, settings.lease_s)


@router.get(
    "/{assignment_id}/blobs/{digest}",
    response_class=FileResponse,
    responses={
        **problem_responses(404, 409),
        200: {"content": {"application/octet-stream": {}}, "description": "The encoded state"},
        **ELSEWHERE,
    },
)
def blob(
    assignment_id: str,
    digest: str,
    request: Request,
    token: LeaseToken,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A state of the assignment's journal by its digest, or the rest of it by Range."""
    sent = not has_it(if_none_match, digest) and not goes_on(request)
    work.fetch_state(engine, assignment_id, token, digest, sent)
    media_type = "application/octet-stream"
    return blob_answer(request, blobs, settings, digest, if_none_match, media_type)


@router.get(
    "/{assignment_id}/data/{source}",
    response_class=FileResponse,
    responses={
        **problem_responses(404, 409),
        200: {"content": {"application/octet-stream": {}}, "description": "The file"},
        **ELSEWHERE,
    },
)
def data(
    assignment_id: str,
    source: str,
    request: Request,
    token: LeaseToken,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    caller: CallerOf,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Uploaded rows that the assignment's job names, or the rest of them by Range."""
    found = work.uploaded_rows(engine, assignment_id, token, source, caller.client)
    media_type = "application/octet-stream"
    return blob_answer(request, blobs, settings, found.digest, if_none_match, media_type)


@router.post("/{assignment_id}/holdout", status_code=204, responses=problem_responses(404, 409))
def holdout(assignment_id: str, body: HoldoutIn, token: LeaseToken, engine: Database) -> None:
    """Reports metrics of the round's model on rows that the client keeps out of its training."""
    work.note_holdout(engine, assignment_id, token, body.num_examples, body.metrics)


@router.get("/{assignment_id}/update", responses=problem_responses(404, 409))
def received(
    assignment_id: str, token: LeaseToken, digest: Digest, engine: Database, blobs: BlobStore
) -> ReceivedOut:
    """How much of an update has come, after a connection broke: send the rest."""
    return handing_in.received(engine, blobs, assignment_id, token, digest)


@router.put(
    "/{assignment_id}/update",
    response_model=AcceptedOut,
    responses={
        **problem_responses(404, 409, 413, 415, 416, 507),
        202: {"model": ReceivedOut, "description": "Kept; the rest is still to come"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def update(
    assignment_id: str,
    request: Request,
    token: LeaseToken,
    report: Annotated[ReportIn, Query()],
    digest: Digest,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    content_length: Annotated[int | None, Header(ge=0)] = None,
    content_range: Annotated[str | None, Header(description=_PIECES)] = None,
) -> AcceptedOut | Response:
    """Hands in the update: the body is the encoded payload, the query what was measured.

    With Content-Range the body is a piece of it, from a byte on up to which all is here (else
    416). 507: the disk is full. Keep the lease and send it again later.
    """
    async with room.told(engine, settings, assignment_id, content_length):
        found = await handing_in.hand_in(
            engine,
            blobs,
            settings,
            assignment_id,
            token,
            report,
            content_length,
            digest,
            request.stream(),
            content_range,
        )
    if isinstance(found, AcceptedOut):
        return found
    return JSONResponse(found.model_dump(), status_code=202)


@router.post("/{assignment_id}/fail", responses=problem_responses(404, 409), status_code=204)
def fail(
    assignment_id: str, body: FailIn, token: LeaseToken, engine: Database, settings: Config
) -> None:
    """Gives the assignment back with a reason; another client may take it."""
    work.give_back(engine, settings, assignment_id, token, body.reason)
