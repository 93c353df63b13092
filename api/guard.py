"""The door of every route: who calls, may they, how often, and how much; before a body is read.

A router that takes one of these classes as its `route_class` needs no check of its own: the key
and the role are checked, a job in the path must be in a project of the caller, a project in the
path must be one of the caller's, and what changes something is noted in the audit log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from api.body_limit import limited
from api.db.audit import Act, acting
from api.deps import bearer, database
from api.errors import ApiError, kind_of, not_found, problem_responses
from api.services import audit, callers, offences
from api.services.callers import Caller
from api.services.rates import Bucket, rates_of
from api.settings import settings
from fedkrso_core.errors import CoreError
from telemetry import facts

_READS = ("GET", "HEAD", "OPTIONS")
_TARGETS = (
    "job_id",
    "key_id",
    "user",
    "project",
    "assignment_id",
    "invitation_id",
    "client_id",
    "source",
)
_FOR = {
    "worker": "training clients",
    "client": "the work of its external client",
    "invitation": "an enrolment",
}


class Guarded(APIRoute):
    """A route that asks for a key; `reads` and `writes` are the least roles it takes."""

    reads: ClassVar[str] = "admin"
    writes: ClassVar[str] = "admin"
    audited: ClassVar[bool] = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the checks."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            engine = database()
            act = self._act(request)
            try:
                await run_in_threadpool(self._admit, engine, request, act)
                limit = None if self._reads_its_body else settings().body_limit_bytes
                with acting(act if self.audited else None):
                    return await handle(limited(request, limit))
            except (ApiError, CoreError) as error:
                if act is not None and isinstance(error, ApiError):
                    await run_in_threadpool(_note_refusal, engine, act, error, self.audited)
                if not self.audited:
                    await run_in_threadpool(_note_offence, engine, request, error)
                raise

        return guarded

    @property
    def _reads_its_body(self) -> bool:
        """A route that describes its body itself streams it, under a limit of its own."""
        return "requestBody" in (self.openapi_extra or {})

    def _act(self, request: Request) -> Act | None:
        if request.method in _READS:
            return None
        path = request.path_params
        return Act(
            action=f"{self.tags[0] if self.tags else 'other'}.{self.endpoint.__name__}",
            address=_address(request),
            request=_request_id(),
            target=next((str(path[name]) for name in _TARGETS if name in path), None),
            project=path.get("project"),
        )

    def _admit(self, engine: Engine, request: Request, act: Act | None) -> None:
        """Notes the caller, if the request may go on; else ApiError 401, 429, 403, 404 or 415."""
        rates = rates_of(settings())
        try:
            caller = callers.authenticate(engine, request.headers.get("authorization"))
        except ApiError:
            rates.count("refusals", _address(request) or "nowhere")
            raise
        request.state.caller = caller
        if act is not None:
            act.user, act.key, act.role = caller.user, caller.key, caller.role
        bucket = self.bucket(request)
        if bucket is not None:
            rates.count(bucket, caller.key)
        self._require_role(caller, request.method)
        _require_project(engine, caller, request, act)
        self._require_more(engine, caller, request)

    def _require_more(self, engine: Engine, caller: Caller, request: Request) -> None:
        """What a kind of route asks for beyond role and project."""

    def bucket(self, request: Request) -> Bucket | None:
        """What a request counts as for the rate limits; None: it is not counted."""
        return "reads" if request.method in _READS else "writes"

    def _require_role(self, caller: Caller, method: str) -> None:
        least = self.reads if method in _READS else self.writes
        if caller.reaches(least):
            return
        if caller.role in callers.APART:
            detail = f"a key of role {caller.role!r} is for {_FOR[caller.role]} only"
        elif least in callers.APART:
            detail = f"a key of role {caller.role!r} is not for {_FOR[least]}"
        else:
            detail = f"your role is {caller.role!r}; this takes the role {least!r} or above"
        raise ApiError(403, "forbidden", detail)


class ForMembers(Guarded):
    """Jobs and what belongs to them: viewers read, operators act."""

    reads, writes = "viewer", "operator"


class ForEverybody(Guarded):
    """What everybody does with their own: keys."""

    reads, writes = "viewer", "viewer"


class ForAdmins(Guarded):
    """What only admins may do."""


class ReadByMembers(Guarded):
    """What members see and admins change: projects."""

    reads = "viewer"


class ForInvited(Guarded):
    """An enrolment, with the token of an invitation."""

    reads, writes = "invitation", "invitation"


class ForClients(Guarded):
    """What an external client does about itself."""

    reads, writes = "client", "client"


class ForWorkers(Guarded):
    """The work of training clients. Their every step is an event of its job, not an audit line."""

    reads, writes = "worker", "worker"
    audited = False

    def _require_more(self, engine: Engine, caller: Caller, request: Request) -> None:
        """404 for an external client that asks for the assignment of another client."""
        offences.require_good_standing(caller)
        _require_plain_body(request)
        assignment = request.path_params.get("assignment_id")
        if caller.client is not None and assignment is not None:
            callers.require_assignment(engine, caller.client, assignment)

    def bucket(self, request: Request) -> Bucket | None:
        """A heartbeat that is refused loses the lease: it is never counted."""
        if self.path.endswith("/heartbeat"):
            return None
        return "uploads" if request.method == "PUT" else "work"


def router(prefix: str, tag: str, kind: type[Guarded]) -> APIRouter:
    """A router whose routes are all guarded, and say so in the OpenAPI document."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=kind,
        dependencies=[Security(bearer)],
        responses=problem_responses(401, 403, 413, 414, 422, 429, 431),
    )


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]


def _require_project(engine: Engine, caller: Caller, request: Request, act: Act | None) -> None:
    """404 for the jobs and projects of others, as if they did not exist."""
    project, job_id = request.path_params.get("project"), request.path_params.get("job_id")
    if project is not None and not caller.sees(project):
        raise not_found("project", project)
    if job_id is not None:
        found = callers.require_job(engine, caller, job_id)
        if act is not None:
            act.project = found


def _require_plain_body(request: Request) -> None:
    """415 for a body that would have to be unpacked: what it becomes is not known before."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        detail = f"Content-Encoding is {encoding[:40]!r}; allowed: none"
        raise ApiError(415, "unsupported-encoding", detail)


def _note_offence(engine: Engine, request: Request, error: ApiError | CoreError) -> None:
    """An external client whose request was refused may have offended."""
    caller: Caller | None = getattr(request.state, "caller", None)
    assignment = request.path_params.get("assignment_id")
    if caller is None or caller.client is None or assignment is None:
        return
    kind = error.kind if isinstance(error, ApiError) else kind_of(error)
    enough = settings().quarantine_after
    offences.note(engine, caller.client, kind, str(error), assignment, enough)


def _note_refusal(engine: Engine, act: Act, error: ApiError, audited: bool) -> None:
    if audited or error.status in (401, 403):
        audit.refused(engine, act, error)


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


def _request_id() -> str:
    """The id that is on the request's log lines and in its answer."""
    return str(facts.current().get("request_id") or secrets.token_hex(8))
