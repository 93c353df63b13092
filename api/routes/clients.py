"""Assignments for training clients. See docs/http-protocol.md for the whole exchange."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request, Response, status
from fastapi.responses import FileResponse

from api import guard
from api.deps import BlobStore, Config, Database, LeaseToken
from api.errors import problem_responses
from api.routes.downloads import ELSEWHERE, IfNoneMatch, blob_answer, has_it
from api.schemas import (
    AcceptedOut,
    AssignmentOut,
    ClaimIn,
    FailIn,
    HeartbeatIn,
    LeaseOut,
    ReportIn,
)
from api.services import room, work
from api.services.pace import CLAIM_AGAIN_S

router = guard.router("/v1/assignments", "clients", guard.ForWorkers)

_RETRY_AFTER = {
    "Retry-After": {"description": "Ask again after so many seconds", "schema": {"type": "integer"}}
}


@router.post(
    "/claim",
    response_model=AssignmentOut,
    responses={204: {"description": "Nothing to do", "headers": _RETRY_AFTER}},
)
def claim(body: ClaimIn, engine: Database, settings: Config) -> AssignmentOut | Response:
    """Leases the oldest waiting assignment to the caller."""
    found = work.claim(engine, settings, body.worker)
    if found is not None:
        return found
    return Response(
        status_code=status.HTTP_204_NO_CONTENT, headers={"Retry-After": str(CLAIM_AGAIN_S)}
    )


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
    token: LeaseToken,
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A state of the assignment's journal by its digest."""
    sent = not has_it(if_none_match, digest)
    work.fetch_state(engine, assignment_id, token, digest, sent)
    return blob_answer(blobs, settings, digest, if_none_match, "application/octet-stream")


@router.put(
    "/{assignment_id}/update",
    responses=problem_responses(404, 409, 413, 507),
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
    digest: Annotated[str, Header(alias="X-Content-SHA256", pattern="^[0-9a-f]{64}$")],
    engine: Database,
    blobs: BlobStore,
    settings: Config,
    content_length: Annotated[int | None, Header(ge=0)] = None,
) -> AcceptedOut:
    """Hands in the update: the body is the encoded payload, the query what was measured.

    507: the disk is full. Keep the lease and send it again later.
    """
    async with room.told(engine, settings, assignment_id, content_length):
        return await work.hand_in(
            engine,
            blobs,
            settings,
            assignment_id,
            token,
            report,
            content_length,
            digest,
            request.stream(),
        )


@router.post("/{assignment_id}/fail", responses=problem_responses(404, 409), status_code=204)
def fail(
    assignment_id: str, body: FailIn, token: LeaseToken, engine: Database, settings: Config
) -> None:
    """Gives the assignment back with a reason; another client may take it."""
    work.give_back(engine, settings, assignment_id, token, body.reason)
