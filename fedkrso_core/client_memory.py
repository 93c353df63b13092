"""What a client keeps for itself between rounds: files beside the training, never traffic.

A memory belongs to one update. It is kept under (client, round, SHA-256 of its encoding) before the
update is handed in, and counts once that update is accepted: whoever trains the client next is told
the round and the digest of the last accepted one and begins with exactly that. What attempts left
behind that were refused or came too late is never read, and cleared away later.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fedkrso_core.errors import MemoryLost
from fedkrso_core.payload import Payload, decode, digest, encode


@dataclass(frozen=True)
class MemoryRef:
    """The memory that a client kept with its update of a round, by its digest."""

    round: int
    sha256: str


class ClientMemory:
    """The memories of a job's clients in a folder, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, client: int, round_number: int, memory: Payload) -> MemoryRef | None:
        """Keeps a memory, whole or not at all; None for an empty one, of which nothing is kept."""
        if not memory.tensors and not memory.scalars:
            return None
        encoded = encode(memory)
        ref = MemoryRef(round_number, digest(encoded))
        path = self._path(client, ref)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())  # the service may know of it before the disk does
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return ref

    def load(self, client: int, ref: MemoryRef | None) -> Payload:
        """The memory that a client begins with, empty if it has none; older ones are removed.

        MemoryLost if it is not in this folder, or not as it was kept: a client must never go on
        as if it had none.
        """
        if ref is None:
            return Payload()
        path = self._path(client, ref)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _lost(client, ref, f"{path} cannot be read: {error.strerror}") from None
        if digest(data) != ref.sha256:
            raise _lost(client, ref, f"{path} is damaged")
        self._forget_before(client, ref.round)
        return decode(data)

    def _path(self, client: int, ref: MemoryRef) -> Path:
        return self.folder / str(client) / f"{ref.round}-{ref.sha256}.safetensors"

    def _forget_before(self, client: int, round_number: int) -> None:
        for path in (self.folder / str(client)).glob("*-*.safetensors"):
            if int(path.name.partition("-")[0]) < round_number:
                path.unlink(missing_ok=True)


def _lost(client: int, ref: MemoryRef, why: str) -> MemoryLost:
    return MemoryLost(
        f"client {client} has lost what it kept with its update of round {ref.round}: {why}; "
        "workers on several machines need one folder for it, FEDKRSO_CLIENT_MEMORY"
    )
