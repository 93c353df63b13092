"""The control plane without HTTP: toy jobs, their clients, and a hand on every clock."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import torch
from sqlalchemy import Engine, update

from api.assignment_schemas import AcceptedOut, AssignmentOut, LeaseOut, ReportIn
from api.coordinator import advance as advancing
from api.db import jobs, rounds
from api.db.session import reading, writing
from api.db.tables import Assignment, Event, Job, Round
from api.errors import ApiError
from api.services import handing_in, work
from api.settings import Settings
from fedkrso_core.method import Update, pack
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec
from tests.api.toy import ToyStore


def is_refused(status: int, kind: str, call: Callable[[], object]) -> None:
    with pytest.raises(ApiError) as refused:
        call()
    assert (refused.value.status, refused.value.kind) == (status, kind)


def toy_update(values: Sequence[float] = (1.0, 2.0), num_examples: int = 10) -> bytes:
    tensors = {"w": torch.tensor(values, dtype=torch.float32)}
    return pack(Update(Payload(tensors), num_examples, {"loss": 1.0}))


class House:
    def __init__(self, settings: Settings, engine: Engine, patch: pytest.MonkeyPatch) -> None:
        self.settings, self.engine = settings, engine
        self.store = ToyStore()
        patch.setattr(advancing, "store", lambda: self.store)

    def job(
        self,
        clients: int = 2,
        rounds: int | dict[str, Any] = 1,
        forecast_up: list[int] | None = None,
        per_round: int | None = None,
        clients_rules: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """A queued job in which every client takes part in every round, if not said otherwise."""
        spec = JobSpec.model_validate(
            {
                "name": "toy",
                "clients": {
                    "count": clients,
                    "per_round": per_round or clients,
                    **(clients_rules or {}),
                },
                "rounds": rounds,
                "method": {"name": "toy"},
                **changed,
            }
        )
        job = Job(
            id=secrets.token_hex(6),
            name="toy",
            state="queued",
            spec=spec.model_dump(mode="json"),
            rounds=spec.rounds.count,
            data_sha256="0" * 64,
            created_at=time.time(),
            priority=spec.priority,
            forecast_up=forecast_up,
        )
        with writing(self.engine) as session:
            session.add(job)
            session.flush()
            jobs.add_clients(session, job.id, [10] * clients)
        return job.id

    def open_job(self, clients: int = 2, rounds: int | dict[str, Any] = 1, **changed: Any) -> str:
        """A job whose first round is open."""
        job_id = self.job(clients, rounds, **changed)
        self.advance(job_id)
        return job_id

    def advance(self, job_id: str) -> None:
        advancing.advance(job_id)

    def claim(self, worker: str = "w1") -> AssignmentOut:
        found = work.claim(self.engine, self.settings, worker)
        assert found is not None
        return found

    def claim_or_none(self, worker: str = "w1") -> AssignmentOut | None:
        return work.claim(self.engine, self.settings, worker)

    def heartbeat(self, seat: AssignmentOut, step: int = 1) -> LeaseOut:
        return work.heartbeat(self.engine, seat.id, seat.lease_token, step, self.settings.lease_s)

    def fetch(self, seat: AssignmentOut) -> int:
        """Downloads every state of an assignment; returns how many bytes that were."""
        return sum(
            work.fetch_state(self.engine, seat.id, seat.lease_token, s.digest) for s in seat.states
        )

    def give_back(self, seat: AssignmentOut, reason: str = "broken") -> None:
        work.give_back(self.engine, self.settings, seat.id, seat.lease_token, reason)

    def hand_in(
        self, seat: AssignmentOut, body: bytes | None = None, peak_memory_bytes: int = 1000
    ) -> AcceptedOut:
        sent = toy_update() if body is None else body

        async def stream() -> AsyncIterator[bytes]:
            yield sent

        return asyncio.run(
            handing_in.hand_in(
                self.engine,
                self.store.blobs,
                self.settings,
                seat.id,
                seat.lease_token,
                ReportIn(peak_memory_bytes=peak_memory_bytes, train_s=0.5),
                len(sent),
                hashlib.sha256(sent).hexdigest(),
                stream(),
            )
        )

    def finish_round(self, job_id: str) -> None:
        """All waiting clients hand in their update and the round is closed."""
        while (seat := self.claim_or_none()) is not None:
            self.hand_in(seat)
        self.advance(job_id)

    def get(self, job_id: str) -> Job:
        with reading(self.engine) as session:
            return session.get_one(Job, job_id)

    def find(self, job_id: str) -> Job | None:
        with reading(self.engine) as session:
            return session.get(Job, job_id)

    def round(self, job_id: str, number: int = 1) -> Round:
        with reading(self.engine) as session:
            return session.get_one(Round, (job_id, number))

    def rounds(self, job_id: str) -> Sequence[Round]:
        with reading(self.engine) as session:
            return rounds.all_of(session, job_id)

    def seats(self, job_id: str, number: int | None = None) -> Sequence[Assignment]:
        with reading(self.engine) as session:
            return rounds.seats(session, job_id, number)

    def seat(self, assignment_id: str) -> Assignment:
        with reading(self.engine) as session:
            return session.get_one(Assignment, assignment_id)

    def events(self, job_id: str) -> Sequence[Event]:
        with reading(self.engine) as session:
            return jobs.events(session, job_id, 0, 1000)

    def count(self, job_id: str, kind: str) -> int:
        return sum(event.kind == kind for event in self.events(job_id))

    def set_seat(self, assignment_id: str, **values: Any) -> None:
        self._set(update(Assignment).where(Assignment.id == assignment_id).values(**values))

    def set_job(self, job_id: str, **values: Any) -> None:
        self._set(update(Job).where(Job.id == job_id).values(**values))

    def set_round(self, job_id: str, number: int = 1, **values: Any) -> None:
        where = (Round.job_id == job_id, Round.number == number)
        self._set(update(Round).where(*where).values(**values))

    def lease_runs_out(self, assignment_id: str) -> None:
        self.set_seat(assignment_id, lease_until=time.time() - 1)

    def deadline_passes(self, job_id: str, number: int = 1) -> None:
        self.set_round(job_id, number, deadline=time.time() - 1)

    def _set(self, query: Any) -> None:
        with writing(self.engine) as session:
            session.execute(query)
