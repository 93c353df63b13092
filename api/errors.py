"""Errors as RFC 9457 problem documents; the one place where a core error gets a status."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.schemas import ProblemItem, ProblemOut
from fedkrso_core.errors import CoreError, PayloadError, Problem, SpecError
from fedkrso_core.spec import JobSpec, problems_of
from telemetry import facts
from telemetry.redact import redact

_COME_AGAIN = {"Retry-After": "2"}
_TAKE_A_JOB = ("/v1/jobs", "/v1/jobs:estimate")
_TITLES = {
    "unauthorized": "A valid API key is needed",
    "forbidden": "This key may not do that",
    "not-found": "There is no such thing",
    "conflict": "That is not possible in the present state",
    "stale-lease": "The lease is not yours any more",
    "too-late": "The update comes too late to be counted",
    "no-room": "The service has no room for it",
    "wrong-offset": "These bytes are not here",
    "too-large": "The request is too large",
    "too-many-requests": "Too many requests",
    "too-many-jobs": "The project has too many open jobs",
    "invalid-job": "The job cannot run",
    "invalid-update": "The update is refused",
    "not-finite": "The update holds NaN or infinite values",
    "wrong-tensors": "The update's tensors are not those of this round",
    "wrong-scalars": "The update's seeds or other scalars are not those of this round",
    "wrong-digest": "The body is not what its digest says",
    "too-large-norm": "The update's norm is above the job's bound",
    "replayed-update": "The client sent this very update in another round",
    "unsupported-encoding": "A compressed body is not taken",
    "quarantined": "The client is in quarantine",
    "invalid-request": "The request is malformed",
    "not-ready": "The service is not ready",
    "unavailable": "The service cannot do that just now",
    "internal": "Something went wrong in the server",
}


class ApiError(Exception):
    """A refusal: status, stable kind, and a message with the offending value."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: tuple[Problem, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.errors = status, kind, detail, errors
        self.headers = headers


def not_found(what: str, value: object) -> ApiError:
    """404 that names what was looked for."""
    return ApiError(404, "not-found", f"there is no {what} {value!r}")


def is_outage(error: BaseException) -> bool:
    """Whether the database did not answer: nobody's fault, and the same may work in a moment."""
    if isinstance(error, (OperationalError, InterfaceError, NoConnection)):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of a route's refusals."""
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    content = {"application/problem+json": {"schema": schema}}
    return {
        s: {"model": ProblemOut, "description": "Problem", "content": content} for s in statuses
    }


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(CoreError, _on_core_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(DataError, _on_data)
    app.add_exception_handler(DBAPIError, _on_database)
    app.add_exception_handler(NoConnection, _on_database)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, on_unexpected)


def answer(error: ApiError) -> Response:
    """The refusal as a problem document."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else error.headers
    body = ProblemOut(
        type=f"urn:fedkrso:problem:{error.kind}",
        title=_TITLES[error.kind],
        status=error.status,
        detail=redact(error.detail),
        errors=[ProblemItem(field=p.field, message=redact(p.message), value=_json(p.value))
                for p in error.errors],
    )  # fmt: skip
    facts.note(problem=error.kind, detail=error.detail[:500])
    # escaped to ASCII: a request may hold half a character, which has no UTF-8
    text = json.dumps(body.model_dump())
    return Response(text, error.status, headers, media_type="application/problem+json")


def _json(value: Any) -> Any:
    """The value, or in words what JSON cannot say: NaN, bytes. A secret is not repeated."""
    if isinstance(value, str):
        return redact(value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(error)


async def _on_core_error(request: Request, error: Exception) -> Response:
    if isinstance(error, SpecError):
        return answer(ApiError(422, "invalid-job", str(error), error.problems))
    assert isinstance(error, CoreError)
    return answer(ApiError(422, kind_of(error), str(error)))


def kind_of(error: CoreError) -> str:
    """The type of the problem that a core error becomes."""
    return error.kind if isinstance(error, PayloadError) else "invalid-request"


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    about_job = request.url.path in _TAKE_A_JOB and request.method == "POST"
    schema: type[BaseModel] = JobSpec if about_job else BaseModel
    problems = tuple(p for e in error.errors() for p in _problems(e, schema))
    kind = "invalid-job" if about_job else "invalid-request"
    return answer(ApiError(422, kind, "; ".join(map(str, problems)), problems))


def _problems(error: Any, schema: type[BaseModel]) -> list[Problem]:
    if error["type"] == "json_invalid":
        where = f"{error['ctx']['error']} (character {error['loc'][-1]})"
        return [Problem("body", f"is not JSON: {where}")]
    return problems_of([error], schema)


async def _on_data(request: Request, error: Exception) -> Response:
    """PostgreSQL takes no NUL character in a text, wherever in the request it came from."""
    detail = "a value of the request cannot be stored: text without the character NUL is allowed"
    return answer(ApiError(422, "invalid-request", detail))


async def _on_database(request: Request, error: Exception) -> Response:
    if "disk is full" in str(error):  # SQLite says so in words alone
        return answer(ApiError(507, "no-room", "no room on the disk of the service's database"))
    if not is_outage(error):
        raise error
    log = logging.getLogger("api")
    log.warning("%s %s: %s", request.method, request.url.path, type(error).__name__)
    detail, headers = "the database does not answer; try again in a moment", _COME_AGAIN
    problem = ApiError(503, "unavailable", detail, headers=headers)
    return answer(problem)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Nobody reads the answer; it keeps a traceback out of the log."""
    return answer(ApiError(400, "invalid-request", "the body ended before it was whole"))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # what the framework says of a body that is no text
        return answer(ApiError(422, "invalid-request", "body: is not JSON in UTF-8"))
    kind = {404: "not-found", 413: "too-large"}.get(error.status_code, "invalid-request")
    detail = f"{error.detail}: {request.method} {request.url.path}"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    return answer(ApiError(error.status_code, kind, detail, headers=headers))


def _allowed_methods(request: Request) -> list[str]:
    """Of all routes of the path; the framework names those of the first alone."""
    routes = request.app.routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(r.matches({**request.scope, "method": method})[0] is Match.FULL for r in routes)
    ]


async def on_unexpected(request: Request, error: Exception) -> Response:
    """500: what happened is in the log, not in the answer."""
    logging.getLogger("api").error("%s %s", request.method, request.url.path, exc_info=error)
    return answer(ApiError(500, "internal", "the error is in the server's log"))
