"""Every request gets an id, one log line, and is counted; whatever happens to it."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import counters
from api.errors import on_unexpected
from telemetry import facts, request_id

_log = logging.getLogger("api.requests")
_SUBJECT = re.compile(r"/v1/(?P<what>job|assignment)s/(?P<id>[A-Za-z0-9]{1,64})(?:/|$)")
# asked so often that a line for each would bury the rest
QUIET = re.compile(r"/(healthz|readyz|metrics)$|/heartbeat$")
_GONE = 499  # the caller hung up: nobody reads a status, but logs and figures want one


class RequestLog:
    """Middleware around all routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request; other kinds of traffic pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = request_id.accepted(Headers(scope=scope).get(request_id.HEADER))
        with facts.about(request_id=given, **_subject(scope["path"])):
            answer = _Answer(send, given)
            try:
                await self._serve(scope, receive, answer)
            finally:
                _finish(scope, answer)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = _GONE
        except Exception as error:
            if answer.started:
                raise
            # answered here, not further out, so that the answer and its lines bear the id
            await (await on_unexpected(Request(scope), error))(scope, receive, answer)


class _Answer:
    """The way back to the caller: notes the status, adds the request id."""

    def __init__(self, send: Send, given: str) -> None:
        self._send, self._id = send, given
        self._began = time.perf_counter()
        self.status, self.started = 500, False
        self.seconds: float | None = None

    async def __call__(self, message: Message) -> None:
        """Passes a message of the answer on."""
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            headers = MutableHeaders(scope=message)
            headers[request_id.HEADER] = self._id
            if headers.get("content-type", "").startswith("text/event-stream"):
                self.end()
        await self._send(message)

    def end(self) -> float:
        """Seconds that the answer took; the first call stops the clock."""
        if self.seconds is None:
            self.seconds = time.perf_counter() - self._began
        return self.seconds


def _subject(path: str) -> dict[str, str]:
    found = _SUBJECT.match(path)
    return {found["what"]: found["id"]} if found else {}


def _finish(scope: Scope, answer: _Answer) -> None:
    seconds, route = answer.end(), _template(scope)
    problem = facts.current().get("problem")
    counters.observe(scope["method"], route, answer.status, seconds, problem)
    line = {
        "method": scope["method"],
        "path": scope["path"],
        "status": answer.status,
        "seconds": round(seconds, 4),
        "address": (scope.get("client") or ("",))[0],
    }
    _log.log(_level(scope, answer.status), "request", extra=line)


def _template(scope: Scope) -> str:
    """The path of the route, not of the request: of these there are few."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "unmatched"


def _level(scope: Scope, status: int) -> int:
    """Reads that succeed are for debugging; what changes something, or is refused, is told."""
    if status >= 500 and not QUIET.search(scope["path"]):
        return logging.ERROR
    if status >= 400:
        return logging.INFO
    routine = scope["method"] in ("GET", "HEAD") or status == 204 or QUIET.search(scope["path"])
    return logging.DEBUG if routine else logging.INFO
