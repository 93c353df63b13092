"""Simulated and external clients in one job, each a process; some are stopped, some are killed."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedkrso_core.data import Examples
from fedkrso_core.simulate import _Job
from fedkrso_core.spec import parse
from fedkrso_core.virtual import VirtualRounds, drawn
from fedkrso_core.workload import Shares, Workload, shares_of
from tests.flow.agents import AgentProcess, taking, token, write_rows
from tests.flow.rig import Rig, environ_of, until
from worker.own_rows import OwnRows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def job_of(model: Path, data: Path) -> dict[str, Any]:
    return {
        "name": "mixed",
        "model": str(model),
        "data": {"train": str(data)},
        "partition": {"kind": "iid"},
        "clients": {
            "simulated": 1,
            "external": {"min": 2, "select": {"labels": {"site": "eu"}}},
        },
        "rounds": 3,
        "local": {"steps": 100, "batch_size": 8, "max_length": 16, "lr": 2e-3},
        "method": {"name": "fedkrso", "rank": 4, "seeds": 4, "interval": 25},
    }


def joined(first: Examples, *others: Examples) -> Examples:
    texts = [text for part in (first, *others) for text in part.texts]
    labels = [label for part in (first, *others) for label in part.labels]
    return replace(first, texts=texts, labels=labels)


def alone(job: dict[str, Any], files: list[Path], folder: Path) -> str:
    """The model's digest if one process has everybody's rows and nothing goes wrong."""
    own = shares_of(parse(job))
    spec = parse(job | {"clients": {"count": 3, "per_round": 3}})
    parts = [
        OwnRows(path, "note", "code").shares(spec, list(own.train.label_names), 0).train
        for path in files
    ]
    rows, end = [own.rows[0]], len(own.train)
    for part in parts:
        rows.append(np.arange(end, end + len(part)))
        end += len(part)
    shares = Shares(joined(own.train, *parts), own.validation, rows)
    torch.set_num_threads(1)
    workload = Workload(spec, folder / "dense", torch.device("cpu"), shares)
    job = _Job(workload, folder, lambda *_: None, VirtualRounds(spec, drawn(spec.seed)))
    assert len(list(job.rounds())) == spec.rounds.count
    workload.global_model.materialize(job.chain())
    return workload.global_model.sha256()


def is_at_work(rig: Rig, job_id: str, number: int, client: int) -> bool:
    seats = {seat["client"]: seat for seat in rig.seats(job_id, number)}
    return client in seats and seats[client]["state"] == "leased"


def test_a_mixed_job_ends_in_the_model_of_all_rows_whatever_befalls_the_agents(
    tmp_path: Path, tiny_model: Path, tiny_data: Path
) -> None:
    files = [write_rows(tmp_path / f"{n}.jsonl", n, 80 + 10 * n) for n in (1, 2)]
    job = job_of(tiny_model, tiny_data)
    policy = tmp_path / "policy.yaml"
    policy.write_text("methods: [fedavg]\n")
    with Rig(tmp_path / "home", environ_of(), workers=1) as rig, ExitStack() as stack:

        def agent(name: str, rows: Path, *words: str) -> AgentProcess:
            made = stack.enter_context(AgentProcess(rig, tmp_path, name, rows, *words))
            made.enrol(token(rig, {"site": "eu"}))
            return made

        rig.start_all()
        picky = agent("picky", files[0], "--policy", str(policy))
        a, b = agent("a", files[0]), agent("b", files[1])
        job_id = rig.submit(job)
        picky.start()
        until(lambda: taking(rig, job_id)["refusals"], "it refuses")
        (refusal,) = taking(rig, job_id)["refusals"]
        assert refusal["reason"] == "method 'fedkrso'; allowed here: fedavg"
        assert picky.end() == 0
        for number, one in enumerate((a, b), 1):
            one.start()
            until(lambda n=number: len(taking(rig, job_id)["items"]) == n, f"{one.name} joins")
        until(lambda: is_at_work(rig, job_id, 1, 1), "a trains")
        assert a.end(signal.SIGTERM) == 0
        a.start()
        until(lambda: is_at_work(rig, job_id, 2, 2), "b trains")
        b.end(signal.SIGKILL)
        until(lambda: not is_at_work(rig, job_id, 2, 2), "its lease runs out")
        b.start()
        done = rig.wait(job_id)
        assert done["state"] == "done", (done, rig.logs(), a.log.read_text(), b.log.read_text())
        assert a.end() == b.end() == 0
        lost = [e["text"] for e in rig.events(job_id) if e["kind"] == "lease-lost"]
        assert any("a is stopping" in text for text in lost), lost
        assert any("b was silent" in text for text in lost), lost
        rows = rig.items(f"/v1/jobs/{job_id}/rounds")
        workers = {seat["client"]: seat["worker"] for seat in rig.seats(job_id, 3)}
    assert [row["done"] for row in rows] == [3, 3, 3]
    assert [row["holdout"]["clients"] for row in rows] == [2, 2, 2]
    assert rows[0]["holdout"]["num_examples"] == 9 + 10
    assert (workers[1], workers[2]) == ("a", "b")
    assert done["model_sha256"] == alone(job, files, tmp_path)
