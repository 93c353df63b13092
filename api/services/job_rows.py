"""Uploads that jobs name: whose they are, and where the core reads them.

A source names the SHA-256 of its bytes, which is the blob's digest too. Whoever reads a job's data
calls `prepare` first (for a caller) or `place` (for a job that was accepted).
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.blobs import Blobs
from api.db import uploads
from api.db.session import reading
from api.errors import ApiError
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.uploads import Uploaded, forget_old, in_use, named_in

_KEEP_UNKNOWN_S = 3600.0  # a file without a row may be one that is just being uploaded


def prepare(engine: Engine, blobs: Blobs, data: DataSpec, seen: frozenset[str] | None) -> None:
    """Makes the uploads that a job file names ready to be read.

    SpecError with the field unless one of these projects (None: any) has them.
    """
    named = named_in(data)
    if named:
        with reading(engine) as session:
            _require_known(session, named, seen)
        try:
            place(blobs, data)
        except OSError as error:
            detail = f"the uploaded rows cannot be put in place: {error.strerror or error}"
            raise ApiError(503, "unavailable", detail) from error


def require(session: Session, data: DataSpec, project: str) -> None:
    """Holds the uploads that a new job names; SpecError unless they are its project's."""
    if named := named_in(data):
        _require_known(session, named, frozenset({project}), hold=True)


def _require_known(
    session: Session, named: dict[str, str], seen: frozenset[str] | None, hold: bool = False
) -> None:
    known = uploads.known(session, named.values(), seen, hold)
    whose = f"of project {min(seen)!r}" if seen and len(seen) == 1 else "of your projects"
    problems = [
        Problem(field, f"{source!r} is not an upload {whose}; POST /v1/uploads makes one", source)
        for field, source in named.items()
        if source not in known
    ]
    if problems:
        raise SpecError(problems)


def place(blobs: Blobs, data: DataSpec) -> None:
    """Puts the uploads of a job where the core reads them, if they are not there.

    One that was deleted stays away: the core says so. OSError if the blobs cannot be read.
    """
    for source in named_in(data).values():
        upload = Uploaded.of(source)
        if upload is None:
            continue
        in_use(upload.path)
        if not upload.path.exists():
            with suppress(FileNotFoundError):
                upload.put(blobs.stream(upload.digest))


def forget_deleted(engine: Engine) -> None:
    """Removes this machine's files of uploads that no project has any more."""
    with reading(engine) as session:
        kept = uploads.sources(session)
    forget_old(_KEEP_UNKNOWN_S, kept)
