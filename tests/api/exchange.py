"""The HTTP exchange step by step, as a training client does it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import torch

from api.coordinator.advance import advance
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import Update, pack
from fedkrso_core.payload import decode, encode
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload

Json = dict[str, Any]
USER_KEY, WORKER_KEY = "fk_user_ivory-otter-31", "fk_worker_amber-heron-77"
REPORT = {"peak_memory_bytes": 1000, "train_s": 0.5}


def as_user() -> dict[str, str]:
    return {"Authorization": f"Bearer {USER_KEY}"}


def as_worker() -> dict[str, str]:
    return {"Authorization": f"Bearer {WORKER_KEY}"}


def submit(http: httpx.Client, job: Json) -> str:
    answer = http.post("/v1/jobs", json=job)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def run_to_the_end(http: httpx.Client, worker: Any, job_id: str, rounds: int = 10) -> Json:
    """Coordinator and worker take turns until the job has ended."""
    for _ in range(rounds):
        advance(job_id)
        job = http.get(f"/v1/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        worker.drain()
    raise AssertionError(f"the job does not end: {job}")


def open_first_round(http: httpx.Client, job: Json) -> str:
    job_id = submit(http, job)
    advance(job_id)
    return job_id


def claim(http: httpx.Client, worker: str = "w1") -> Json:
    answer = http.post("/v1/assignments/claim", json={"worker": worker}, headers=as_worker())
    assert answer.status_code == 200, answer.text
    return answer.json()


def lease(assignment: Json) -> dict[str, str]:
    return {**as_worker(), "X-Lease-Token": assignment["lease_token"]}


def fetch(http: httpx.Client, assignment: Json, digest: str) -> httpx.Response:
    return http.get(f"/v1/assignments/{assignment['id']}/blobs/{digest}", headers=lease(assignment))


def put(
    http: httpx.Client, assignment: Json, body: bytes, digest: str | None = None, **report: Any
) -> httpx.Response:
    declared = hashlib.sha256(body).hexdigest() if digest is None else digest
    return http.put(
        f"/v1/assignments/{assignment['id']}/update",
        content=body,
        params=REPORT | report,
        headers=lease(assignment) | {"X-Content-SHA256": declared},
    )


@dataclass
class Trainee:
    """A client that has trained: its assignment and the update it would hand in."""

    assignment: Json
    update: Update

    @property
    def body(self) -> bytes:
        return pack(self.update)

    def with_tensor(self, name: str, tensor: torch.Tensor | None) -> bytes:
        """The body with one tensor replaced, or left out."""
        tensors = {n: t for n, t in self.update.upload.tensors.items() if n != name}
        if tensor is not None:
            tensors[name] = tensor
        return pack(replace(self.update, upload=replace(self.update.upload, tensors=tensors)))

    def with_scalar(self, name: str, value: Any) -> bytes:
        """The body with one scalar replaced."""
        whole = decode(self.body)
        return encode(replace(whole, scalars={**whole.scalars, name: value}))

    def without_scalar(self, name: str) -> bytes:
        """The body with one scalar left out."""
        whole = decode(self.body)
        return encode(replace(whole, scalars={n: v for n, v in whole.scalars.items() if n != name}))


def train(http: httpx.Client, folder: Path, worker: str = "w1") -> Trainee:
    """Claims an assignment, downloads its journal and trains; nothing is handed in yet."""
    assignment = claim(http, worker)
    chain = []
    for state in assignment["states"]:
        encoded = fetch(http, assignment, state["digest"]).content
        chain.append(StateRef(state["digest"], lambda encoded=encoded: decode(encoded)))
    spec = JobSpec.model_validate(assignment["spec"])
    workload = Workload(spec, folder / "dense", torch.device("cpu"))
    trained = workload.train(chain, assignment["client"], assignment["round"])
    return Trainee(assignment, trained.update)
