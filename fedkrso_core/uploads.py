"""Rows that were uploaded to a service: their name in a job file, and where they lie.

    upload:SHA256.ENDING    of the file's bytes, 64 hex digits; the ending says what the file is

A machine that works on the job has the file as $FEDKRSO_HOME/uploads/SHA256.ENDING.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedkrso_core.data_spec import DataSpec
from fedkrso_core.home import home

PREFIX = "upload:"
ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")
_FORM = re.compile(
    rf"{PREFIX}([0-9a-f]{{64}})({'|'.join(map(re.escape, ENDINGS))})", flags=re.ASCII
)


@dataclass(frozen=True)
class Uploaded:
    """A file that was uploaded: the SHA-256 of its bytes and its ending."""

    digest: str
    ending: str

    @classmethod
    def of(cls, source: str) -> Uploaded | None:
        """What a source names; None if it is not of this form, to the letter."""
        found = _FORM.fullmatch(source)
        return None if found is None else cls(found[1], found[2])

    @property
    def source(self) -> str:
        """Its name in a job file."""
        return f"{PREFIX}{self.digest}{self.ending}"

    @property
    def path(self) -> Path:
        """Where it lies on this machine; neither file nor folder need be there."""
        return home() / "uploads" / f"{self.digest}{self.ending}"

    def put(self, pieces: Iterable[bytes]) -> None:
        """Makes the file of its bytes, whole or not at all; OSError if they are others."""
        make_folder()
        part = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.part")
        total = hashlib.sha256()
        try:
            with part.open("wb") as file:
                for piece in pieces:
                    total.update(piece)
                    file.write(piece)
            if total.hexdigest() != self.digest:
                raise OSError(f"{self.source}: the bytes have sha256 {total.hexdigest()}")
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)


def ending_of(name: str) -> str | None:
    """The known ending of a file's name, in small letters; None if it has none."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def named_in(data: DataSpec) -> dict[str, str]:
    """The sources of a job that begin as an upload does, by the field that names them."""
    given = {"data.train": data.train, "data.validation": data.validation or ""}
    return {field: source for field, source in given.items() if source.startswith(PREFIX)}


def make_folder() -> None:
    """Makes the folder of uploads on this machine, readable by its owner alone."""
    (home() / "uploads").mkdir(exist_ok=True, mode=0o700)


def in_use(path: Path) -> None:
    """Notes that a file is read now: see forget_old."""
    with suppress(FileNotFoundError):
        os.utime(path)


def forget_old(older_than_s: float, but: Iterable[str] = ()) -> None:
    """Removes files that nobody here has used for so long, but for those of these sources."""
    kept, before = {source.removeprefix(PREFIX) for source in but}, time.time() - older_than_s
    for path in (home() / "uploads").glob("*"):
        with suppress(FileNotFoundError):  # another process was quicker
            if path.name not in kept and path.stat().st_mtime < before:
                path.unlink()
