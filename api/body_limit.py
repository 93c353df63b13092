"""How large a request may be: its body, its address and its headers."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, answer

URL_LIMIT_BYTES = 8 * 1024
HEADERS_LIMIT_BYTES = 32 * 1024


def limited(request: Request, limit_bytes: int | None) -> Request:
    """The request with a body that ends in a 413 as soon as it is above the limit."""
    if limit_bytes is None:
        return request
    if _declared(request.scope) > limit_bytes:
        raise _too_large(limit_bytes)
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        return message

    return Request(request.scope, receive)


class Envelope:
    """Refuses a request whose address or headers are too long, whatever its route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is short enough."""
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await answer(refusal)(scope, receive, send)


def _refusal(scope: Scope) -> ApiError | None:
    url = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    if url > URL_LIMIT_BYTES:
        detail = f"the address has {url} bytes, the limit is {URL_LIMIT_BYTES}"
        return ApiError(414, "too-large", detail)
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    if headers > HEADERS_LIMIT_BYTES:
        detail = f"the headers have {headers} bytes, the limit is {HEADERS_LIMIT_BYTES}"
        return ApiError(431, "too-large", detail)
    return None


def _declared(scope: Scope) -> int:
    """Content-Length; 0 for a body that comes in chunks, which is counted as it comes."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _too_large(limit_bytes: int) -> HTTPException:
    # FastAPI lets no other kind of error out of its reading of a body
    return HTTPException(413, f"the body is larger than {limit_bytes} bytes")
