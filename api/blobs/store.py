"""What a store of blobs must do: content-addressed, whole or not there, never changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.blobs.parts import Part, Parts


@dataclass(frozen=True)
class Listed:
    """A blob that lies in the store: its digest, size in bytes and age in seconds."""

    digest: str
    size: int
    age_s: float


class Blobs(ABC):
    """Blobs by their SHA-256. They are written to a local part first and kept from there.

    A store that cannot be reached or written to raises OSError, with errno ENOSPC if it is full;
    a blob that is not there raises FileNotFoundError.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def put(self, data: bytes) -> str:
        """Keeps the bytes; returns their digest."""
        part = self.parts.write(data)
        self.keep(part)
        return part.digest

    def put_file(self, path: Path) -> str:
        """Keeps a finished file of the parts' filesystem (it is moved); returns its digest."""
        part = self.parts.adopt(path)
        self.keep(part)
        return part.digest

    def drop(self, part: Part) -> None:
        """Forgets a part."""
        self.parts.drop(part)

    @abstractmethod
    def keep(self, part: Part) -> None:
        """Makes a part a blob that survives a power cut; harmless if it is there already.

        The part's file is gone afterwards.
        """

    @abstractmethod
    def read(self, digest: str) -> bytes:
        """A whole blob."""

    @abstractmethod
    def stream(self, digest: str) -> Iterator[bytes]:
        """A blob in pieces of a few MB; FileNotFoundError before the first."""

    @abstractmethod
    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None if it is not there."""

    @abstractmethod
    def delete(self, digest: str) -> None:
        """Removes a blob; harmless if it is not there."""

    @abstractmethod
    def listed(self) -> Iterator[Listed]:
        """Every blob."""

    @abstractmethod
    def check(self) -> None:
        """Really writes, reads and removes something; OSError with the reason if it cannot."""

    def local(self, digest: str) -> Path | None:  # noqa: ARG002
        """The blob's file where it lies in a folder of this machine."""
        return None

    def link(self, digest: str, lifetime_s: float) -> str | None:  # noqa: ARG002
        """An address that gives the blob to whoever has it, for a while; None without such."""
        return None


def key_of(digest: str) -> str:
    """Where a blob lies, relative to its store."""
    return f"{digest[:2]}/{digest}"
