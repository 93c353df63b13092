"""A fake of the HTTP client: scripted assignments, and what a client did with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class FakeApi:
    """Hands out prepared assignments and keeps what comes back."""

    def __init__(self, state: bytes) -> None:
        self.state = state
        self.work: list[Json] = []
        self.waits: list[float] = []  # of the claims
        self.on_heartbeat: Callable[[int], None] = lambda _: None
        self.on_upload: Callable[[], None] = lambda: None
        self.downloads: list[str] = []
        self.uploads: list[tuple[Json, bytes, Json]] = []
        self.given_back: list[str] = []
        self.deleted: set[str] = set()

    def gone(self, jobs: Sequence[str]) -> list[str]:
        return [job for job in jobs if job in self.deleted]

    def claim(self, _worker: str, wait_s: float = 0.0) -> Json | None:
        self.waits.append(wait_s)
        return self.work.pop(0) if self.work else None

    def heartbeat(self, _assignment: Json, step: int) -> float:
        self.on_heartbeat(step)
        return 0.005

    def download(self, _assignment: Json, digest: str, target: Path, _useless: Any) -> None:
        self.downloads.append(digest)
        target.write_bytes(self.state)

    def upload(self, assignment: Json, body: bytes, report: Json, _useless: Any) -> None:
        self.on_upload()
        self.uploads.append((assignment, body, report))

    def give_back(self, _assignment: Json, reason: str) -> None:
        self.given_back.append(reason)
