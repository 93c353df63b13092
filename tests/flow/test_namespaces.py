"""Three agents, each on a network of its own; one is cut off for two rounds and comes back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.flow.agents import AgentProcess, taking, token, write_rows
from tests.flow.namespaces import cable
from tests.flow.rig import Rig, environ_of, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NETWORKS = {"near": (5, 0.0), "far": (150, 0.5), "away": (60, 1.0)}


def state_of(rig: Rig, job_id: str, number: int, client: int) -> str:
    return {s["client"]: s["state"] for s in rig.seats(job_id, number)}.get(client, "none")


def test_a_job_ends_although_a_client_is_cut_off_for_two_rounds(
    tmp_path: Path, tiny_model: Path, tiny_data: Path
) -> None:
    job: dict[str, Any] = {
        "name": "networks",
        "model": str(tiny_model),
        "data": {"train": str(tiny_data)},
        "clients": {"simulated": 0, "external": {"min": 3}, "min_clients": 2},
        "rounds": 8,
        "round_timeout_s": 30,
        "local": {"steps": 10, "batch_size": 8, "max_length": 16, "lr": 2e-3},
        "method": {"name": "fedkrso", "rank": 4, "seeds": 4, "interval": 5},
    }
    with ExitStack() as stack:
        networks = [
            stack.enter_context(cable(number, *of)) for number, of in enumerate(NETWORKS.values())
        ]
        rig = stack.enter_context(Rig(tmp_path / "home", environ_of(), host="0.0.0.0"))
        rig.start_all("worker1", "worker2")
        job_id = rig.submit(job)
        agents = []
        for number, (name, network) in enumerate(zip(NETWORKS, networks, strict=True)):
            rows = write_rows(tmp_path / f"{name}.jsonl", number, 60)
            one = stack.enter_context(AgentProcess(rig, tmp_path, name, rows, network=network))
            one.enrol(token(rig, {}))
            one.start()
            until(lambda n=number: len(taking(rig, job_id)["items"]) == n + 1, f"{name} joins")
            agents.append(one)
        until(lambda: state_of(rig, job_id, 1, 2) == "done", "the first round", 600)
        networks[2].pull_out()
        until(lambda: rig.job(job_id)["rounds_closed"] >= 3, "two rounds without it", 600)
        shown = taking(rig, job_id)["items"][2]
        networks[2].plug_in()
        done = rig.wait(job_id)
        assert done["state"] == "done", (done, rig.logs(), agents[2].log.read_text())
        states = [state_of(rig, job_id, number, 2) for number in range(1, 9)]
        seats = {seat["client"]: seat for seat in rig.seats(job_id, 3)}
    assert states[0] == "done"
    assert states[2] == "cancelled"
    assert "done" in states[3:], states
    # who was away, and since when, is shown
    assert shown["name"] == "away"
    assert shown["heartbeat_at"] < seats[0]["heartbeat_at"]
    assert seats[2]["error"] == "the round closed without it"
    assert {seats[0]["state"], seats[1]["state"]} == {"done"}
