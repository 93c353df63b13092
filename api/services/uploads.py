"""Rows that users upload: received, read once, kept as blobs, listed, deleted."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine

from api.blobs import Blobs, Part, too_large
from api.db import audit, uploads
from api.db.access import lock_project
from api.db.audit import acting
from api.db.session import reading, writing
from api.db.tables import Upload
from api.errors import ApiError, not_found
from api.services import projects, room, safekeeping
from api.services.callers import Caller
from api.services.views import moment
from api.settings import Settings
from api.upload_schemas import UploadOut
from fedkrso_core.errors import SpecError
from fedkrso_core.uploads import ENDINGS, Uploaded, ending_of

# a file is read whole: one after the other, so that several do not take the memory at once
_DESK = ThreadPoolExecutor(1, "upload")
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Sent:
    """A request's file: what its owner calls it, who sends it, and for which project."""

    name: str
    project: str
    user: str | None


async def receive(
    engine: Engine,
    blobs: Blobs,
    settings: Settings,
    sent: Sent,
    declared_bytes: int | None,
    body: AsyncIterable[bytes],
) -> UploadOut:
    """Keeps a file of rows; the same bytes again are answered as the first time.

    ApiError 413 above the limit, 422 for another ending or a file that cannot be read.
    """
    ending = ending_of(sent.name)
    if ending is None:
        detail = f"name is {sent.name!r}; allowed: a file ending in {', '.join(ENDINGS)}"
        raise ApiError(422, "invalid-request", detail)
    limit = settings.rows_limit_bytes
    if (declared_bytes or 0) > limit:
        raise too_large(limit)
    # the blob, and the file that jobs read
    await run_in_threadpool(room.require, settings, 2 * (declared_bytes or 0))
    part = await blobs.parts.receive(body, limit)
    assert part is not None  # only bodies with a name come in pieces
    try:
        return await _alone(lambda: _keep(engine, blobs, part, ending, sent))
    finally:
        blobs.drop(part)


async def _alone(call: Callable[[], UploadOut]) -> UploadOut:
    # the audit log knows by its context who acts
    context = contextvars.copy_context()
    return await asyncio.wrap_future(_DESK.submit(context.run, call))


def _keep(engine: Engine, blobs: Blobs, part: Part, ending: str, sent: Sent) -> UploadOut:
    upload = Uploaded(part.digest, ending)
    with reading(engine) as session:
        here = session.get(Upload, (upload.source, sent.project)) is not None
    rows, columns = (0, ()) if here else _read(upload, part.path, sent.name)
    with acting(None):  # noted together with the row below
        kept = safekeeping.keep(engine, blobs, part)
    with writing(engine) as session:
        audit.about(target=upload.source, project=sent.project, detail=sent.name)
        if lock_project(session, sent.project) is None:
            raise not_found("project", sent.project)
        safekeeping.refer(session, kept)
        row = session.get(Upload, (upload.source, sent.project))
        if row is None:
            if here:  # deleted this very moment
                raise ApiError(503, "not-ready", "the upload was just deleted: send it again")
            row = Upload(
                source=upload.source,
                project=sent.project,
                digest=upload.digest,
                name=sent.name,
                size=part.size,
                rows=rows,
                columns=list(columns),
                user=sent.user,
                created_at=time.time(),
            )
            session.add(row)
        return _out(row)


def _read(upload: Uploaded, path: Path, name: str) -> tuple[int, tuple[str, ...]]:
    """Number of rows and the columns, as jobs will read them; ApiError 422 if they cannot."""
    from fedkrso_core.data import sources  # the API does not load it at start

    with path.open("rb") as file:
        upload.put(iter(lambda: file.read(_PIECE_BYTES), b""))
    try:
        table = sources.read(upload.source, "data.train", "train")
    except SpecError as error:
        upload.path.unlink(missing_ok=True)
        detail = error.problems[0].message.replace(upload.source, name)
        raise ApiError(422, "invalid-request", detail) from error
    return table.rows, table.columns


def listing(engine: Engine, caller: Caller, project: str | None) -> list[UploadOut]:
    """The uploads of the caller's projects; ApiError 404 for the project of others."""
    seen = projects.narrowed(caller, project)
    with reading(engine) as session:
        return [_out(row) for row in uploads.of_projects(session, seen)]


def delete(engine: Engine, source: str, project: str) -> None:
    """Takes an upload away from a project; ApiError 409 while an open job of it names the source.

    Its blob follows when unused ones are collected, this machine's file at once.
    """
    with writing(engine) as session:
        audit.about(target=source, project=project)
        row = uploads.locked(session, source, project)
        if row is None:
            raise not_found(f"upload of project {project!r}", source)
        if found := uploads.open_jobs(session, source, project):
            detail = f"{source} is used by job {', '.join(found[:5])}: cancel it first"
            raise ApiError(409, "conflict", detail)
        session.delete(row)
    with reading(engine) as session:
        left = uploads.known(session, [source], None)
    if not left and (upload := Uploaded.of(source)) is not None:
        upload.path.unlink(missing_ok=True)


def _out(row: Upload) -> UploadOut:
    return UploadOut(
        source=row.source,
        project=row.project,
        name=row.name,
        size=row.size,
        rows=row.rows,
        columns=row.columns,
        user=row.user,
        created_at=moment(row.created_at),  # type: ignore[arg-type]
    )
