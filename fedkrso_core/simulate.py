"""A whole job in one process without any service: the same engine, encodings and numbers."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from fedkrso_core import engine
from fedkrso_core.budget import Account, NextRound, Spent, is_limited, upload_of
from fedkrso_core.check import check
from fedkrso_core.checkpoint import catch_up_bytes
from fedkrso_core.client_memory import ClientMemory, MemoryRef
from fedkrso_core.device import prepare_process
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.export import summarize, write_folder
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import pack, unpack
from fedkrso_core.payload import Payload, decode, digest, encode
from fedkrso_core.personal import Report, round_metrics
from fedkrso_core.rounds_spec import evaluates
from fedkrso_core.spec import JobSpec
from fedkrso_core.stale import Counted
from fedkrso_core.virtual import VirtualRounds, Visit, drawn
from fedkrso_core.workload import Workload

OnRound = Callable[[dict[str, Any]], None]
OnStep = Callable[[int, int, int], None]


def run(
    spec: JobSpec,
    out: Path,
    on_round: OnRound = lambda _: None,
    on_step: OnStep = lambda *_: None,
    clock: VirtualRounds | None = None,
) -> dict[str, Any]:
    """Trains the job and writes `out`; returns the summary.

    `on_round` gets each line of rounds.jsonl as it is written, `on_step` (round, client, step).
    `clock` says how long each client takes in virtual time, which decides what is counted where if
    rounds are buffered; left out, the times are drawn from the job's seed.
    SpecError for a job that cannot run, before `out` is touched.
    """
    device = prepare_process()
    checked = check(spec)
    spec = checked.spec
    if spec.clients.external is not None:
        message = "external clients come over HTTP: submit the job to a service"
        raise SpecError([Problem("clients.external", message)])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
        workload = Workload(spec, Path(work) / "dense", device)
        own = clock or VirtualRounds(spec, drawn(spec.seed))
        job = _Job(workload, Path(work), on_step, own, checked.bytes_up)
        ledger = out / "rounds.jsonl"
        ledger.write_text("", encoding="utf-8")
        for record in job.rounds():
            with ledger.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            on_round(record)
        workload.global_model.materialize(job.chain())
        sha = workload.global_model.sha256()
        summary = summarize(workload, spec, job.records, sha, job.stopped)
        write_folder(out, workload, job.records, summary)
    return summary


@dataclass
class _Job:
    """The store of a simulated job: states and updates are files, as they would be blobs."""

    workload: Workload
    folder: Path
    on_step: OnStep
    clock: VirtualRounds
    forecast_up: Sequence[int] = ()
    states: list[Path] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    have: dict[int, int] = field(default_factory=dict)
    memories: dict[int, MemoryRef | None] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    closed_at: list[float] = field(default_factory=list)
    server: Payload | None = None  # what the server's optimizer remembers
    measured: int = 0  # the last round that was
    stopped: str | None = None

    def rounds(self) -> Iterator[dict[str, Any]]:
        """Carries out what the engine says until it says to finish."""
        self._add_state(encode(self.workload.initial_state()))
        self.closed_at.append(time.perf_counter())
        action = self._next_action()
        while isinstance(action, engine.Open):
            self.records.append(self._round(action.round))
            self.closed_at.append(time.perf_counter())
            action = self._next_action()
            if isinstance(action, engine.Measure):
                self._evaluate(self.records[action.round - 1])
                self.measured = action.round
                action = self._next_action()
            yield self.records[-1]
        assert isinstance(action, engine.Finish)
        self.stopped = action.reason

    def _next_action(self) -> engine.Action:
        spec, closed = self.workload.spec, len(self.records)
        measured = self.measured == closed
        due = evaluates(closed, spec.evaluate.every, spec.rounds.count) and not measured
        view = engine.JobView(
            spec.rounds.count,
            closed,
            account=self._account(),
            unmeasured=closed if due else None,
            last_measured=measured,
        )
        return engine.measurement(view) or engine.next_action(view, now=0.0, quorum=1.0)

    def _account(self) -> Account | None:
        if not is_limited(self.workload.spec.budget):
            return None
        so_far, following = engine.totals(self.records), len(self.records) + 1
        took = [after - before for before, after in pairwise(self.closed_at)]
        spent = Spent(
            bytes_up=so_far["bytes_up"],
            updates=sum(len(record["clients"]) for record in self.records),
            memory=so_far["peak_memory_bytes"],
            seconds=self.closed_at[-1] - self.closed_at[0],
        )
        needs = NextRound(following, upload_of(self.forecast_up, following), min(took, default=0.0))
        return Account(self.workload.spec.budget, spent, needs)

    def chain(self) -> list[StateRef]:
        """All states so far."""
        return [_state(path) for path in self.states]

    def _round(self, number: int) -> dict[str, Any]:
        state = decode(self.states[-1].read_bytes())
        bytes_down = self._begin(number, state)
        counted = self.clock.close()
        self.have |= {visit.client: visit.began - 1 for visit in counted}
        record: dict[str, Any] = {
            "round": number,
            "metrics": {},
            "bytes_up": 0,
            "bytes_down": bytes_down,
            "peak_memory_bytes": 0,
            "seconds": {"train": 0.0, "aggregate": 0.0, "evaluate": 0.0},
            "clients": [visit.client for visit in counted],
            "staleness": [number - visit.began for visit in counted],
        }
        self.reports = []
        uploads = [self._client(number, visit, record) for visit in counted]
        start = time.perf_counter()
        after = self.workload.aggregate(state, uploads, self.server)
        self.server = after.server
        self._add_state(encode(after.state))
        record["seconds"]["aggregate"] = _since(start)
        return record

    def _begin(self, number: int, state: Payload) -> int:
        """Gives the round's model to clients that have no work; returns the bytes they download."""
        method, config, spec = self.workload.method, self.workload.config, self.workload.spec
        self.clock.give_up(number)
        working, bytes_down = self.clock.working, 0
        clients = engine.participants(method, config, spec, state, number, working)
        for client in clients:
            lacked = engine.lacking(method, config, self.have.get(client), number)
            bytes_down += catch_up_bytes(lacked, self._size, self.workload.checkpoint_bytes)
        self.clock.begin(number, clients)
        return bytes_down

    def _size(self, number: int) -> int:
        return self.states[number].stat().st_size

    def _evaluate(self, record: dict[str, Any]) -> None:
        """Measures the model after a round, where models are personal from what clients report."""
        if self.workload.method.is_personal:
            record["metrics"] = round_metrics(self.reports)
            return
        start = time.perf_counter()
        self.workload.global_model.materialize(self.chain())
        record["metrics"] = self.workload.evaluate()
        record["seconds"]["evaluate"] = _since(start)

    def _client(self, number: int, visit: Visit, record: dict[str, Any]) -> Counted:
        """One client's part of the job; the body of its upload lies in a file."""
        needed = engine.needed(self.workload.method, self.workload.config, visit.began)
        chain = [_state(self.states[n]) for n in needed]
        memory = ClientMemory(self.folder / "memory")
        trained = self.workload.train(
            chain,
            visit.client,
            visit.began,
            lambda step: self.on_step(number, visit.client, step),
            memory.load(visit.client, self.memories.get(visit.client)),
        )
        update = trained.update
        self.memories[visit.client] = memory.save(visit.client, visit.began, update.memory)
        self.reports.append(Report(visit.client, update.num_examples, update.metrics))
        record["seconds"]["train"] = round(record["seconds"]["train"] + trained.seconds, 3)
        body = pack(update, self.workload.spec.wire.compression)
        record["bytes_up"] += len(body)
        record["peak_memory_bytes"] = max(record["peak_memory_bytes"], trained.peak_memory_bytes)
        path = self.folder / f"update-{visit.client}.safetensors"
        path.write_bytes(body)
        return Counted(
            number - visit.began,
            lambda: unpack(path.read_bytes()),
            lambda: chain[-1].fetch(),
            visit.client,
        )

    def _add_state(self, encoded: bytes) -> None:
        path = self.folder / f"state-{len(self.states)}-{digest(encoded)}.safetensors"
        path.write_bytes(encoded)
        self.states.append(path)


def _state(path: Path) -> StateRef:
    return StateRef(path.stem.rsplit("-", 1)[1], lambda: decode(path.read_bytes()))


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)
