"""What clients keep between rounds, in the service: the accepted update's memory counts, no other.

The jobs keep the classifier with the client, so that a memory too many or too few, or another one,
shows in the digest of the final model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.coordinator.advance import advance
from api.db.session import reading
from api.db.tables import Client
from fedkrso_core import simulate
from fedkrso_core.client_memory import ClientMemory, MemoryRef
from fedkrso_core.payload import Payload
from fedkrso_core.spec import parse
from tests.api.exchange import (
    WORKER_KEY,
    as_user,
    as_worker,
    claim,
    lease,
    put,
    run_to_the_end,
    submit,
    train,
)
from worker.api import Api
from worker.client import ClientProcess

Json = dict[str, Any]


@pytest.fixture
def job(tiny_job: Callable[..., Json]) -> Json:
    local = {"steps": 3, "batch_size": 4, "max_length": 8, "lr": 0.01, "head_lr": 0.05}
    clients = {"count": 2, "per_round": 2}
    return tiny_job(local_head=True, rounds=3, local=local, clients=clients)


def alone(job: Json, tmp_path: Path) -> Json:
    return simulate.run(parse(job), tmp_path / "alone")


def memory_folder(worker: ClientProcess, job_id: str) -> Path:
    return worker._memory / job_id


def test_the_service_ends_in_the_model_of_a_simulation(
    http: httpx.Client, worker: ClientProcess, job: Json, tmp_path: Path
) -> None:
    job_id = submit(http, job)
    done = run_to_the_end(http, worker, job_id)
    summary = alone(job, tmp_path)
    assert done["model_sha256"] == summary["model_sha256"]
    assert done["metrics"] == summary["metrics"]
    assert "worst_client" in done["metrics"]
    assert done["bytes_up"] == summary["totals"]["bytes_up"]


def test_a_second_worker_of_the_machine_goes_on_with_it(
    http: httpx.Client, server: str, worker: ClientProcess, job: Json, tmp_path: Path
) -> None:
    """Workers take turns; the one that died had kept a memory and not handed in its update."""
    job_id = submit(http, job)
    for _ in range(2):
        advance(job_id)
        worker.drain()
    advance(job_id)
    dying = claim(http, "dying")
    kept = ClientMemory(memory_folder(worker, job_id))
    kept.save(dying["client"], dying["round"], Payload(scalars={"of": "an attempt that died"}))
    http.post(f"/v1/assignments/{dying['id']}/fail", json={"reason": "gone"}, headers=lease(dying))
    api = Api(server, WORKER_KEY, give_up_s=5)
    other = ClientProcess(api, tmp_path / "worker")
    done = run_to_the_end(http, other, job_id)
    api.close()
    assert done["model_sha256"] == alone(job, tmp_path)["model_sha256"]


def test_a_machine_without_the_memory_says_whose_is_missing(
    http: httpx.Client, server: str, worker: ClientProcess, job: Json, tmp_path: Path
) -> None:
    job_id = submit(http, job | {"clients": {"count": 2, "per_round": 2, "attempts": 1}})
    advance(job_id)
    worker.drain()
    api = Api(server, WORKER_KEY, give_up_s=5)
    elsewhere = ClientProcess(api, tmp_path / "another machine")
    failed = run_to_the_end(http, elsewhere, job_id)
    api.close()
    assert failed["state"] == "failed"
    clients = http.get(f"/v1/jobs/{job_id}/rounds/2/clients").json()["items"]
    assert {client["error"].partition(":")[0] for client in clients} == {
        f"client {c} has lost what it kept with its update of round 1" for c in (0, 1)
    }
    assert all("FEDKRSO_CLIENT_MEMORY" in client["error"] for client in clients)


def test_machines_with_one_folder_share_it(
    http: httpx.Client, server: str, worker: ClientProcess, job: Json, tmp_path: Path
) -> None:
    job_id = submit(http, job)
    advance(job_id)
    worker.drain()
    api = Api(server, WORKER_KEY, give_up_s=5)
    shared = tmp_path / "worker" / "memory"
    done = run_to_the_end(http, ClientProcess(api, tmp_path / "b", memory=shared), job_id)
    api.close()
    assert done["model_sha256"] == alone(job, tmp_path)["model_sha256"]


def test_only_an_accepted_update_moves_a_clients_memory(
    http: httpx.Client, engine: Engine, job: Json, tmp_path: Path
) -> None:
    def known() -> MemoryRef | None:
        with reading(engine) as session:
            row = session.get_one(Client, (job_id, trained.assignment["client"]))
            return row.memory_sha256 and MemoryRef(row.memory_round or 0, row.memory_sha256)

    job_id = submit(http, job)
    advance(job_id)
    trained = train(http, tmp_path)
    assert trained.assignment["memory"] is None
    refused = put(http, trained.assignment, trained.body[:-1], memory_sha256="aa" * 32)
    assert (refused.status_code, known()) == (422, None)
    malformed = put(http, trained.assignment, trained.body, memory_sha256="../etc")
    assert (malformed.status_code, known()) == (422, None)
    assert put(http, trained.assignment, trained.body, memory_sha256="bb" * 32).is_success
    assert known() == MemoryRef(1, "bb" * 32)
    # the same bytes again are answered as the first time, and change nothing
    assert put(http, trained.assignment, trained.body, memory_sha256="cc" * 32).is_success
    assert known() == MemoryRef(1, "bb" * 32)


def test_the_next_assignment_names_the_memory(
    http: httpx.Client, worker: ClientProcess, job: Json
) -> None:
    job_id = submit(http, job)
    advance(job_id)
    worker.drain()
    advance(job_id)
    found = claim(http)
    kept = memory_folder(worker, job_id) / str(found["client"])
    assert found["memory"]["round"] == 1
    assert (kept / f"1-{found['memory']['sha256']}.safetensors").exists()


def test_a_method_without_a_memory_leaves_nothing(
    http: httpx.Client, worker: ClientProcess, tiny_job: Callable[..., Json]
) -> None:
    job_id = submit(http, tiny_job())
    assert run_to_the_end(http, worker, job_id)["state"] == "done"
    assert not memory_folder(worker, job_id).exists()


def test_deleting_a_job_removes_it(http: httpx.Client, worker: ClientProcess, job: Json) -> None:
    kept, deleted = submit(http, job), submit(http, job)
    for job_id in (kept, deleted):
        run_to_the_end(http, worker, job_id)
    worker.forget_gone()
    assert memory_folder(worker, deleted).exists()
    assert http.delete(f"/v1/jobs/{deleted}").status_code == 204
    worker.forget_gone()
    assert not memory_folder(worker, deleted).exists()
    assert memory_folder(worker, kept).exists()


def test_only_workers_ask_which_jobs_are_gone(http: httpx.Client, job: Json) -> None:
    job_id, ask = submit(http, job), {"jobs": ["nowhere"]}
    assert http.post("/v1/assignments/gone", json=ask, headers=as_user()).status_code == 403
    ask["jobs"].append(job_id)
    answer = http.post("/v1/assignments/gone", json=ask, headers=as_worker())
    assert answer.json() == {"gone": ["nowhere"]}
