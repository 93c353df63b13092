"""Answers with a blob: a file, an address in the store, or the bytes from the store."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from api.blobs import Blobs
from api.errors import ApiError, not_found, problem_responses
from api.settings import Settings

IfNoneMatch = Annotated[str | None, Header(description="ETag of what the caller has")]
_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{0,19})")
ELSEWHERE: dict[int | str, dict[str, Any]] = {
    **problem_responses(416),
    304: {"description": "The caller has it already"},
    206: {"description": "The part that Range asks for"},
    307: {"description": "It lies at the address in Location: ask there, without any key"},
}


class BlobFile(FileResponse):
    """A file in pieces so large that a download is as fast as a file server's."""

    chunk_size = 4 * 1024 * 1024


def goes_on(request: Request) -> bool:
    """Whether a download goes on that began before: its bytes were counted then."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    return found is not None and int(found[1]) > 0


def _require_range(request: Request, size: int) -> None:
    """ApiError 416 for a Range behind the end; one of another form is ignored (RFC 9110, 14.2)."""
    asked = request.headers.get("range")
    if asked is None:
        return
    found = _RANGE.fullmatch(asked)
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        kept = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
        request.scope["headers"] = kept
    elif int(found[1]) >= size:
        detail = f"Range is {asked!r}, and there are {size} bytes"
        headers = {"Content-Range": f"bytes */{size}"}
        raise ApiError(416, "wrong-offset", detail, headers=headers)


def has_it(if_none_match: str | None, digest: str) -> bool:
    """Whether an If-None-Match header names the blob."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return f'"{digest}"' in tags or "*" in tags


def blob_answer(
    request: Request,
    blobs: Blobs,
    settings: Settings,
    digest: str,
    if_none_match: str | None,
    media_type: str,
    filename: str | None = None,
) -> Response:
    """The blob, or where it is; ApiError 404 if it is gone."""
    headers = {"ETag": f'"{digest}"'}
    if has_it(if_none_match, digest):
        return Response(status_code=304, headers=headers)
    if settings.blob_redirects and (link := blobs.link(digest, settings.blob_link_s)):
        return RedirectResponse(link, 307, {"Cache-Control": "no-store"})
    size = blobs.size(digest)
    if size is None:
        raise not_found("blob", digest)
    if path := blobs.local(digest):
        _require_range(request, size)
        return BlobFile(path, media_type=media_type, filename=filename, headers=headers)
    headers["Content-Length"] = str(size)
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return StreamingResponse(blobs.stream(digest), 200, headers, media_type)
