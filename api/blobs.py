"""Content-addressed blobs: a file is named by its SHA-256 and never changes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterable
from dataclasses import dataclass
from pathlib import Path

from api.errors import ApiError


@dataclass(frozen=True)
class Part:
    """A blob that is written but not yet kept: its temporary file, digest and size."""

    path: Path
    digest: str
    size: int


class Blobs:
    """Blobs under a folder; writes go to a temporary file first and appear whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "parts").mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where a blob lies; it need not exist."""
        return self.folder / digest[:2] / digest

    def put(self, data: bytes) -> str:
        """Keeps the bytes; returns their digest."""
        digest = hashlib.sha256(data).hexdigest()
        part = self._new_part()
        try:
            part.write_bytes(data)
            self.keep(Part(part, digest, len(data)))
        except BaseException:
            part.unlink(missing_ok=True)  # half a part on a full disk would keep it full
            raise
        return digest

    def put_file(self, path: Path) -> str:
        """Keeps a finished file of the same filesystem (it is moved); returns its digest."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.keep(Part(path, digest, path.stat().st_size))
        return digest

    async def receive(self, chunks: AsyncIterable[bytes], limit_bytes: int) -> Part:
        """Streams a request's body into a part; 413 as soon as it is above the limit."""
        path, total, size = self._new_part(), hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit_bytes:
                        raise too_large(limit_bytes)
                    total.update(chunk)
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Part(path, total.hexdigest(), size)

    def keep(self, part: Part) -> None:
        """Makes a part a blob; harmless if the blob is there already."""
        target = self.path(part.digest)
        target.parent.mkdir(exist_ok=True)
        with part.path.open("rb") as file:
            os.fsync(file.fileno())
        part.path.replace(target)

    def check(self) -> None:
        """Really writes, reads and removes something; OSError with the reason if it cannot."""
        part, written = self._new_part(), secrets.token_bytes(16)
        try:
            part.write_bytes(written)
            if part.read_bytes() != written:
                raise OSError("what was written is not what is read")
        finally:
            part.unlink(missing_ok=True)

    def drop(self, part: Part) -> None:
        """Forgets a part."""
        part.path.unlink(missing_ok=True)

    def _new_part(self) -> Path:
        return self.folder / "parts" / secrets.token_hex(16)


def too_large(limit_bytes: int) -> ApiError:
    """The refusal of a body above the limit."""
    return ApiError(413, "too-large", f"the body is larger than {limit_bytes} bytes")
