"""A client begins with the very base model of the job, in its own copy or not; else it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import Engine

from api.coordinator.advance import advance
from fedkrso_core.models import load_model, weights_of
from fedkrso_core.payload import tensors_sha256
from tests.api import people
from tests.api.exchange import claim, open_first_round, submit
from worker import agent as agents
from worker.agent import Agent
from worker.api import Api
from worker.client import ClientProcess
from worker.ledger import Ledger
from worker.own_rows import OwnRows
from worker.own_site import OwnSite
from worker.policy import Policy

Json = dict[str, Any]
MakeJob = Callable[..., Json]
CLIENTS = {"simulated": 1, "external": {"min": 1}, "min_clients": 1}


@pytest.fixture
def own_copy(tiny_files: Path, tmp_path: Path) -> Path:
    """The job's model in a folder of the client's own."""
    return Path(shutil.copytree(tiny_files / "model", tmp_path / "own"))


@pytest.fixture
def agent_with(
    server: str,
    engine: Engine,
    tiny_files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Path], Agent]]:
    """An external client whose copy of the job's model lies in a folder."""
    monkeypatch.setattr(agents, "WAIT_S", 0.1)
    made: list[Api] = []

    def make(copy: Path) -> Agent:
        api = Api(server, people.external(engine, "hospital-a").key, give_up_s=5)
        made.append(api)
        rows = OwnRows(tiny_files / "rows.jsonl", "text", "label")
        policy = Policy(models={str(tiny_files / "model"): copy})
        site = OwnSite(rows, policy, api, lambda *_: None)
        process = ClientProcess(api, tmp_path / "agent", site=site)
        ledger = Ledger(tmp_path / "ledger.json")
        return Agent(api, process, site, policy, ledger, dict, lambda *_: 0)

    yield make
    for api in made:
        api.close()


def open_with(http: httpx.Client, agent: Agent, job: Json) -> str:
    """A job whose first round is open, with the agent in it."""
    job_id = submit(http, job)
    advance(job_id)
    agent.step()
    advance(job_id)
    return job_id


def seat_of(http: httpx.Client, job_id: str, number: int) -> Json:
    seats = http.get(f"/v1/jobs/{job_id}/rounds/1/clients").json()["items"]
    return next(seat for seat in seats if seat["client"] == number)


def tamper(folder: Path) -> None:
    """One weight is another."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["bert.pooler.dense.weight"][0, 0] += 0.001
    save_file(tensors, path, {"format": "pt"})


def test_a_client_whose_own_copy_is_the_jobs_model_takes_part(
    http: httpx.Client, agent_with: Any, own_copy: Path, tiny_job: MakeJob
) -> None:
    agent = agent_with(own_copy)
    job_id = open_with(http, agent, tiny_job(clients=CLIENTS))
    agent.step()
    assert seat_of(http, job_id, 1)["state"] == "done"


def test_a_client_whose_own_copy_is_another_model_leaves_the_job_and_says_both_digests(
    http: httpx.Client,
    agent_with: Any,
    own_copy: Path,
    tiny_job: MakeJob,
    tiny_files: Path,
    worker: ClientProcess,
) -> None:
    tamper(own_copy)
    agent = agent_with(own_copy)
    job_id = open_with(http, agent, tiny_job(clients=CLIENTS))
    agent.step()
    wanted = http.get(f"/v1/jobs/{job_id}").json()["base_sha256"]
    there = tensors_sha256(weights_of(load_model(str(own_copy), ("cold", "warm"), 0)))
    name = str(tiny_files / "model")
    reason = f"the model {name!r} here has the digest {there}, the job's has {wanted}"
    (refusal,) = http.get(f"/v1/jobs/{job_id}/externals").json()["refusals"]
    assert (refusal["name"], refusal["reason"]) == ("hospital-a", reason)
    told = http.get(f"/v1/jobs/{job_id}/events?format=json").json()["items"]
    assert f"hospital-a does not take part: {reason}" in [event["text"] for event in told]
    assert seat_of(http, job_id, 1)["state"] == "failed"
    worker.drain()  # the others go on
    advance(job_id)
    assert http.get(f"/v1/jobs/{job_id}").json()["rounds_closed"] == 1


def test_a_worker_whose_model_changed_gives_its_work_back_with_the_reason(
    http: httpx.Client, worker: ClientProcess, own_copy: Path, tiny_job: MakeJob
) -> None:
    job_id = open_first_round(http, tiny_job(model=str(own_copy)))
    tamper(own_copy)
    worker.work_once()
    seats = http.get(f"/v1/jobs/{job_id}/rounds/1/clients").json()["items"]
    assert any("the job's has" in seat["error"] for seat in seats if seat["error"])


def test_an_assignment_has_the_digest_that_the_protocol_describes(
    http: httpx.Client, tiny_job: MakeJob, tiny_files: Path
) -> None:
    """As docs/http-protocol.md has it, from the file alone."""
    import hashlib

    open_first_round(http, tiny_job())
    total, tensors = hashlib.sha256(), load_file(tiny_files / "model" / "model.safetensors")
    for tensor_name in sorted(tensors):
        value = tensors[tensor_name].numpy()
        total.update(f"{tensor_name} torch.float32 {value.shape}\n".encode() + value.tobytes())
    assert claim(http)["base_sha256"] == total.hexdigest()


@pytest.mark.parametrize("preset", ["bytes"])
def test_a_preset_whose_weights_are_generated_is_the_same_everywhere(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = set()
    for home in ("here", "there"):
        monkeypatch.setenv("FEDKRSO_HOME", str(tmp_path / home))
        torch.manual_seed(len(digests))
        model = load_model(preset, (), 0, "causal-lm")
        digests.add(tensors_sha256(weights_of(model)))
    assert len(digests) == 1
