"""Answers with a blob: a file, an address in the store, or the bytes from the store."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from api.blobs import Blobs
from api.errors import not_found
from api.settings import Settings

IfNoneMatch = Annotated[str | None, Header(description="ETag of what the caller has")]
ELSEWHERE: dict[int | str, dict[str, Any]] = {
    304: {"description": "The caller has it already"},
    307: {"description": "It lies at the address in Location: ask there, without any key"},
}


class BlobFile(FileResponse):
    """A file in pieces so large that a download is as fast as a file server's."""

    chunk_size = 1024 * 1024


def has_it(if_none_match: str | None, digest: str) -> bool:
    """Whether an If-None-Match header names the blob."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return f'"{digest}"' in tags or "*" in tags


def blob_answer(
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
        return BlobFile(path, media_type=media_type, filename=filename, headers=headers)
    headers["Content-Length"] = str(size)
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return StreamingResponse(blobs.stream(digest), 200, headers, media_type)
