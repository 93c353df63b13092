"""Three agents, each on a network of its own; one is cut off for two rounds and comes back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.flow.agents import AgentProcess, taking, token, write_rows
from tests.flow.namespaces import Kind, way
from tests.flow.rig import Rig, environ_of, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# delay in ms, loss in percent, bytes/s
NETWORKS = {"near": (5, 0.0, 1e7), "far": (150, 0.5, 1e6), "away": (60, 1.0, 5e5)}


def state_of(rig: Rig, job_id: str, number: int, client: int) -> str:
    return {s["client"]: s["state"] for s in rig.seats(job_id, number)}.get(client, "none")


# without the right to namespaces the first is skipped, and the second is what is tried
@pytest.mark.parametrize("kind", ["namespaces", "proxy"])
def test_a_job_ends_although_a_client_is_cut_off_for_two_rounds(
    tmp_path: Path, tiny_model: Path, tiny_data: Path, kind: Kind
) -> None:
    job: dict[str, Any] = {
        "name": "networks",
        "model": str(tiny_model),
        "data": {"train": str(tiny_data)},
        "clients": {"simulated": 0, "external": {"min": 3}, "min_clients": 2},
        "rounds": 8,
        "round_timeout_s": 45,
        "local": {"steps": 10, "batch_size": 8, "max_length": 16, "lr": 2e-3},
        "method": {"name": "fedkrso", "rank": 4, "seeds": 4, "interval": 5},
    }
    with ExitStack() as stack:
        rig = stack.enter_context(
            Rig(tmp_path / "home", environ_of(FEDKRSO_LEASE_S="10"), host="0.0.0.0")
        )
        ways = [
            stack.enter_context(way(kind, number, rig.url, *of))
            for number, of in enumerate(NETWORKS.values())
        ]
        rig.start_all("worker1", "worker2")
        job_id = rig.submit(job)
        agents = []
        for number, (name, by) in enumerate(zip(NETWORKS, ways, strict=True)):
            rows = write_rows(tmp_path / f"{name}.jsonl", number, 60)
            one = stack.enter_context(AgentProcess(rig, tmp_path, name, rows, way=by))
            one.enrol(token(rig, {}))
            one.start()
            until(lambda n=number: len(taking(rig, job_id)["items"]) == n + 1, f"{name} joins")
            agents.append(one)
        until(lambda: state_of(rig, job_id, 1, 2) == "done", "the first round", 600)
        ways[2].cable.pull_out()
        until(lambda: rig.job(job_id)["rounds_closed"] >= 3, "two rounds without it", 600)
        shown = taking(rig, job_id)["items"][2]
        ways[2].cable.plug_in()
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
