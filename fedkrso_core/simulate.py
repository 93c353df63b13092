"""A whole job in one process without any service: the same engine, encodings and numbers."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedkrso_core import engine
from fedkrso_core.check import check
from fedkrso_core.device import prepare_process
from fedkrso_core.export import summarize, write_folder
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import Update, pack, unpack
from fedkrso_core.payload import decode, digest, encode
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload

OnRound = Callable[[dict[str, Any]], None]
OnStep = Callable[[int, int, int], None]


def run(
    spec: JobSpec,
    out: Path,
    on_round: OnRound = lambda _: None,
    on_step: OnStep = lambda *_: None,
) -> dict[str, Any]:
    """Trains the job and writes `out`; returns the summary.

    `on_round` gets each line of rounds.jsonl as it is written, `on_step` (round, client, step).
    SpecError for a job that cannot run, before `out` is touched.
    """
    device = prepare_process()
    spec = check(spec).spec
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
        job = _Job(Workload(spec, Path(work) / "dense", device), Path(work), on_step)
        ledger = out / "rounds.jsonl"
        ledger.write_text("", encoding="utf-8")
        for record in job.rounds():
            with ledger.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            on_round(record)
        job.workload.global_model.materialize(job.chain())
        summary = summarize(job.workload, spec, job.records, job.workload.global_model.sha256())
        write_folder(out, job.workload, job.records, summary)
    return summary


@dataclass
class _Job:
    """The store of a simulated job: states and updates are files, as they would be blobs."""

    workload: Workload
    folder: Path
    on_step: OnStep
    states: list[Path] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    have: dict[int, int] = field(default_factory=dict)

    def rounds(self) -> Iterator[dict[str, Any]]:
        """Carries out what the engine says until it says to finish."""
        self._add_state(encode(self.workload.initial_state()))
        view = engine.JobView(self.workload.spec.rounds, 0)
        while not isinstance(
            action := engine.next_action(view, now=0.0, quorum=1.0), engine.Finish
        ):
            assert isinstance(action, engine.Open)
            record = self._round(action.round)
            self.records.append(record)
            yield record
            view = engine.JobView(view.rounds, action.round)

    def chain(self) -> list[StateRef]:
        """All states so far."""
        return [_state(path) for path in self.states]

    def _round(self, number: int) -> dict[str, Any]:
        method, config, spec = self.workload.method, self.workload.config, self.workload.spec
        state = decode(self.states[-1].read_bytes())
        clients = engine.participants(method, config, spec, state, number)
        record: dict[str, Any] = {
            "round": number,
            "metrics": {},
            "bytes_up": 0,
            "bytes_down": 0,
            "peak_memory_bytes": 0,
            "seconds": {"train": 0.0, "aggregate": 0.0, "evaluate": 0.0},
            "clients": clients,
        }
        uploads = [self._client(number, client, record) for client in clients]
        start = time.perf_counter()
        new_state = method.aggregate(config, state, self._updates(uploads))
        self._add_state(encode(new_state))
        record["seconds"]["aggregate"] = _since(start)
        if engine.evaluates(spec, number):
            start = time.perf_counter()
            self.workload.global_model.materialize(self.chain())
            record["metrics"] = self.workload.evaluate()
            record["seconds"]["evaluate"] = _since(start)
        return record

    def _client(self, number: int, client: int, record: dict[str, Any]) -> Path:
        """One client's part of the round; returns the file with the body of its upload."""
        method = self.workload.method
        for lacking in engine.lacking(method, self.have.get(client), number):
            record["bytes_down"] += self.states[lacking].stat().st_size
        self.have[client] = number - 1
        chain = [_state(self.states[n]) for n in engine.needed(method, number)]
        trained = self.workload.train(
            chain, client, number, lambda step: self.on_step(number, client, step)
        )
        record["seconds"]["train"] = round(record["seconds"]["train"] + trained.seconds, 3)
        body = pack(trained.update)
        record["bytes_up"] += len(body)
        record["peak_memory_bytes"] = max(record["peak_memory_bytes"], trained.peak_memory_bytes)
        path = self.folder / f"update-{client}.safetensors"
        path.write_bytes(body)
        return path

    def _updates(self, paths: list[Path]) -> Iterator[Update]:
        for path in paths:
            yield unpack(path.read_bytes())

    def _add_state(self, encoded: bytes) -> None:
        path = self.folder / f"state-{len(self.states)}-{digest(encoded)}.safetensors"
        path.write_bytes(encoded)
        self.states.append(path)


def _state(path: Path) -> StateRef:
    return StateRef(path.stem.rsplit("-", 1)[1], lambda: decode(path.read_bytes()))


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)
