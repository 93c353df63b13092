"""Errors as RFC 9457 problem documents; the one place where a core error gets a status."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.schemas import ProblemItem, ProblemOut
from fedkrso_core.errors import CoreError, PayloadError, Problem, SpecError
from fedkrso_core.spec import problems_of

_TITLES = {
    "unauthorized": "A valid API key is needed",
    "forbidden": "This key may not do that",
    "not-found": "There is no such thing",
    "conflict": "That is not possible in the present state",
    "stale-lease": "The lease is not yours any more",
    "too-large": "The body is too large",
    "invalid-job": "The job cannot run",
    "invalid-update": "The update is refused",
    "invalid-request": "The request is malformed",
    "not-ready": "The service is not ready",
    "internal": "Something went wrong in the server",
}


class ApiError(Exception):
    """A refusal: status, stable kind, and a message with the offending value."""

    def __init__(
        self, status: int, kind: str, detail: str, errors: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.errors = status, kind, detail, errors


def not_found(what: str, value: object) -> ApiError:
    """404 that names what was looked for."""
    return ApiError(404, "not-found", f"there is no {what} {value!r}")


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of a route's refusals."""
    content = {"application/problem+json": {"schema": ProblemOut.model_json_schema()}}
    return {
        s: {"model": ProblemOut, "description": "Problem", "content": content} for s in statuses
    }


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(CoreError, _on_core_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unexpected)


def _answer(error: ApiError, headers: dict[str, str] | None = None) -> JSONResponse:
    body = ProblemOut(
        type=f"urn:fedkrso:problem:{error.kind}",
        title=_TITLES[error.kind],
        status=error.status,
        detail=error.detail,
        errors=[ProblemItem(field=p.field, message=p.message, value=_json(p.value))
                for p in error.errors],
    )  # fmt: skip
    return JSONResponse(
        body.model_dump(), error.status, headers, media_type="application/problem+json"
    )


def _json(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)


async def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return _answer(error, headers)


async def _on_core_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, SpecError):
        return _answer(ApiError(422, "invalid-job", str(error), error.problems))
    kind = "invalid-update" if isinstance(error, PayloadError) else "invalid-request"
    return _answer(ApiError(422, kind, str(error)))


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    about_job = request.url.path == "/v1/jobs" and request.method == "POST"
    problems = tuple(problems_of(list(error.errors())))
    kind = "invalid-job" if about_job else "invalid-request"
    return _answer(ApiError(422, kind, "; ".join(map(str, problems)), problems))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = "not-found" if error.status_code == 404 else "invalid-request"
    detail = f"{error.detail}: {request.method} {request.url.path}"
    return _answer(ApiError(error.status_code, kind, detail))


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    logging.getLogger("api").error("%s %s", request.method, request.url.path, exc_info=error)
    return _answer(ApiError(500, "internal", "the error is in the server's log"))
