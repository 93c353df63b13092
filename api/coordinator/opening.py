"""A round that opens: who begins it, with what, and how its updates must look."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.coordinator import places
from api.coordinator.store import Store
from api.db import jobs, rounds
from api.db.session import reading
from api.db.tables import Assignment, Job, Round
from api.services import rules, safekeeping
from fedkrso_core.payload import Payload, encode


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint that is stored and not yet referred to."""

    number: int
    kept: safekeeping.Kept
    size: int

    def write(self, session: Session, job_id: str) -> None:
        safekeeping.refer(session, self.kept)
        values = {"checkpoint_digest": self.kept.digest, "checkpoint_size": self.size}
        rounds.note(session, job_id, self.number, values)


class Opening:
    """What opening a round takes, computed before its transaction begins."""

    def __init__(self, s: Store, job: Job, number: int, state: Payload) -> None:
        work = s.workload(job)
        self.job, self.number, self.settings = job, number, s.settings
        self.work, self.state = work, state
        self.clients: list[int] = []
        self.checkpoint: _Checkpoint | None = None
        self.reference: safekeeping.Kept | None = None
        model = work.global_model.model
        self.expected = work.method.expect(work.config, model, state).model_dump(mode="json")

    def keep_blobs(self, s: Store) -> None:
        """Stores what the round needs beside its predecessor's state."""
        self._keep_checkpoint(s)
        if rules.max_norm(self.job.spec) is not None:
            reference = self.work.reference(self.state)
            self.reference = s.keep(encode(reference)) if reference.tensors else None

    def _keep_checkpoint(self, s: Store) -> None:
        """Stores a checkpoint if that is less to download for somebody who begins."""
        with reading(s.engine) as session:
            wanted = places.checkpoint_wanted(session, self.work, self.job, self.state, self.number)
        if wanted is None:
            return
        encoded = encode(self.work.checkpoint(s.chain(self.job.id, wanted)))
        self.checkpoint = _Checkpoint(wanted, s.keep(encoded), len(encoded))

    def write(self, session: Session) -> None:
        """Adds the round and the assignments of its free places."""
        now = time.time()
        if self.checkpoint is not None:
            self.checkpoint.write(session, self.job.id)
        if self.reference is not None:
            safekeeping.refer(session, self.reference)
        places.give_up(session, self.work, self.job, self.number, now)
        moved = places.move_up(session, self.work, self.job, self.number)
        first = places.choose(session, self.work, self.job, self.state, self.number)
        extra = places.reserves(session, self.work, self.job, self.state, first, self.number)
        self.clients = sorted([*first, *extra])
        session.add(
            Round(
                job_id=self.job.id,
                number=self.number,
                state="collecting",
                opened_at=now,
                deadline=now + rules.timeout_s(self.job.spec, self.settings),
                expected=self.expected,
                reference_digest=self.reference.digest if self.reference else None,
            )
        )
        beginnings = places.Beginnings(session, self.work, self.job, self.number)
        behind = []
        for client in jobs.clients_of(session, self.job.id, self.clients):
            start = beginnings.of(client.have_round)
            if start["checkpoint_round"] is not None:
                behind.append(client.client)
            session.add(
                Assignment(
                    id=secrets.token_hex(16),
                    job_id=self.job.id,
                    number=self.number,
                    client=client.client,
                    state="pending",
                    **start,
                    created_at=now,
                    hinted_at=now,
                    pending_at=now,
                    num_examples=client.num_examples,
                )
            )
        begin = sorted([*self.clients, *(seat.client for seat in moved)])
        whom = f"clients {', '.join(map(str, begin))}" if begin else "those still at work"
        text = f"Round {self.number} opened for {whom}"
        if extra:
            text += f"; the first {len(self.clients) - len(extra)} updates count"
        if behind:
            last, who = self.number - 2, ", ".join(map(str, behind))
            text += f"; {who} may take the weights of round {last} in place of states up to it"
        jobs.add_event(session, self.job.id, now, "round-opened", text, round=self.number)
