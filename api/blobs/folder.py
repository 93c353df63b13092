"""Blobs as files of a folder; a part is moved in, so that it appears whole or not at all."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from api.blobs.parts import Part, Parts
from api.blobs.store import Blobs, Listed, key_of

_PIECE_BYTES = 4 * 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PROBE = b"written by a check"


class FolderBlobs(Blobs):
    """The default; several machines may share the folder if their filesystem does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Parts(folder / "parts"))
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where a blob lies; it need not exist."""
        return self.folder / key_of(digest)

    def keep(self, part: Part) -> None:
        """Fsyncs the part and moves it in, unless the blob is there already."""
        target = self.path(part.digest)
        if self.size(part.digest) == part.size:
            part.path.unlink(missing_ok=True)
            return
        _fsync(part.path)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            _fsync(self.folder)
        part.path.replace(target)
        _fsync(target.parent)

    def read(self, digest: str) -> bytes:
        """The file's bytes."""
        return self.path(digest).read_bytes()

    def stream(self, digest: str) -> Iterator[bytes]:
        """The file piece by piece."""
        with self.path(digest).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def size(self, digest: str) -> int | None:
        """The file's size."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, digest: str) -> None:
        """Unlinks the file: who reads it at the moment reads it to its end."""
        self.path(digest).unlink(missing_ok=True)

    def listed(self) -> Iterator[Listed]:
        """The files that are named like blobs."""
        now = time.time()
        for path in self.folder.glob("??/*"):
            if _DIGEST.fullmatch(path.name):
                try:
                    found = path.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
                yield Listed(path.name, found.st_size, now - found.st_mtime)

    def check(self) -> None:
        """Writes a part, reads it and removes it."""
        if not self.folder.is_dir():
            raise FileNotFoundError("the folder is missing")
        part = self.parts.write(_PROBE)
        try:
            _fsync(part.path)
            if part.path.read_bytes() != _PROBE:
                raise OSError("what was written is not what is read")
        finally:
            self.drop(part)

    def local(self, digest: str) -> Path:
        """The blob's file."""
        return self.path(digest)


def _fsync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
