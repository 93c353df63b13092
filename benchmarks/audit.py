"""Reads a service's database after a soak: what was lost, doubled or left incomplete."""

from __future__ import annotations

import hashlib
from collections import Counter

from sqlalchemy import select

from api.db.session import engine_of, reading
from api.db.tables import Assignment, Event, Job, Round
from tests.flow.rig import Rig

Key = tuple[str, int]


class Audit:
    """Counts over all jobs; `models` are the digests of jobs that ran alone."""

    def __init__(self, rig: Rig, models: dict[Key, str]) -> None:
        self._rig = rig
        with reading(engine_of(rig.database)) as session:
            self._jobs = session.scalars(select(Job)).all()
            self._rounds = session.scalars(select(Round).where(Round.number > 0)).all()
            self._seats = session.scalars(select(Assignment)).all()
            self._events = session.scalars(select(Event)).all()
        self.open = [f"{j.id} {j.state} {j.reason}" for j in self._jobs if j.state != "done"]
        self.closed = [r for r in self._rounds if r.state == "closed"]
        self.accepted = [s for s in self._seats if s.state == "done"]
        self.lost, self.doubled = self._lost(), self._doubled()
        self.without_metrics = sum(not r.metrics for r in self.closed) + sum(
            not (s.metrics and s.train_s and s.peak_memory_bytes) for s in self.accepted
        )
        self.compared, self.other_models = self._compare(models)

    def _lost(self) -> int:
        """Rounds, seats and updates that should be there and are not, and damaged blobs."""
        rounds = sum(j.rounds - j.rounds_closed for j in self._jobs)
        seats = sum(s.state != "done" for s in self._seats)
        known = {s.id: s.digest for s in self.accepted}
        answered = {tuple(line.split()) for line in self._acknowledged()}
        forgotten = sum(known.get(seat) != digest for seat, digest in answered)
        digests = {s.digest for s in self.accepted} | {r.digest for r in self.closed}
        return rounds + seats + forgotten + sum(not self._is_whole(d) for d in digests)

    def _acknowledged(self) -> list[str]:
        file = self._rig.home.path / "acknowledged"
        return file.read_text().splitlines() if file.exists() else []

    def _is_whole(self, digest: str | None) -> bool:
        path = self._rig.home.path / "blobs" / str(digest)[:2] / str(digest)
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def _doubled(self) -> int:
        """Updates accepted, rounds opened and rounds closed more often than once."""
        once = {"update", "round-opened", "round-closed", "started", "done"}
        said = Counter((e.job_id, e.text.split(",")[0]) for e in self._events if e.kind in once)
        return sum(count - 1 for count in said.values())

    def _compare(self, models: dict[Key, str]) -> tuple[int, int]:
        """(jobs compared, those with another model)."""
        done = [job for job in self._jobs if job.state == "done"]
        alone = [models[(job.spec["method"]["name"], job.spec["seed"])] for job in done]
        other = sum(job.model_sha256 != m for job, m in zip(done, alone, strict=True))
        return len(done), other

    def is_clean(self) -> bool:
        """Nothing is wrong, and there was something to look at."""
        wrong = (self.lost, self.doubled, self.without_metrics, self.other_models, len(self.open))
        return not any(wrong) and self.compared > 0

    def print(self) -> None:
        """What was found."""
        twice = sum(s.bytes_up_lost > 0 for s in self.accepted)
        attempts = sum(s.attempt - 1 for s in self.accepted)
        print(f"jobs done: {len(self._jobs) - len(self.open)}, not done: {len(self.open)}")
        for line in self.open:
            print(f"  {line}")
        print(f"rounds closed: {len(self.closed)}")
        print(f"updates accepted: {len(self.accepted)}, of these sent again: {twice}")
        print(f"attempts that came to nothing: {attempts}")
        print(f"lost: {self.lost}")
        print(f"doubled: {self.doubled}")
        print(f"without metrics: {self.without_metrics}")
        print(f"models compared: {self.compared}, different: {self.other_models}")
