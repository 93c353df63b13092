"""That a job which was disturbed is the job that was not: nothing lost, nothing counted twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.flow.rig import Rig


@dataclass(frozen=True)
class Undisturbed:
    """What `fedkrso run` makes of a job: one process, no service, no fault."""

    spec: dict[str, Any]
    summary: dict[str, Any]
    rounds: list[dict[str, Any]]


def assert_unharmed(rig: Rig, job_id: str, undisturbed: Undisturbed) -> None:
    """The same model, every round closed once, every update accepted once, every metric there."""
    job = rig.wait(job_id)
    assert job["state"] == "done", (job, rig.logs())
    assert job["model_sha256"] == undisturbed.summary["model_sha256"]
    served = rig.items(f"/v1/jobs/{job_id}/rounds")
    for there, here in zip(undisturbed.rounds, served, strict=True):
        for field in ("round", "metrics", "bytes_up", "bytes_down", "clients"):
            assert here[field] == there[field], (here["round"], field)
        assert here["state"] == "closed"
        assert here["done"] == len(here["clients"])
    _assert_each_once(rig.events(job_id), served)
    for row in served:
        for seat in rig.seats(job_id, row["round"]):
            assert seat["state"] == "done"
            assert seat["metrics"]["loss"] > 0
            assert seat["seconds"]["train"] > 0
            assert seat["peak_memory_bytes"] > 0


def _assert_each_once(events: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> None:
    kinds = Counter(event["kind"] for event in events)
    assert kinds["round-opened"] == kinds["round-closed"] == len(rounds)
    assert kinds["started"] == kinds["done"] == 1
    closed = [event["text"].split()[1] for event in events if event["kind"] == "round-closed"]
    assert closed == [str(row["round"]) for row in rounds]
    # "Client 3 handed in its update (round 2, ...": each client of each round, once
    updates = Counter(e["text"].split(",")[0] for e in events if e["kind"] == "update")
    expected = [
        f"Client {client} handed in its update (round {row['round']}"
        for row in rounds
        for client in row["clients"]
    ]
    assert updates == Counter(expected)
