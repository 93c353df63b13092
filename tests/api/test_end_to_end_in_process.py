"""Whole jobs: coordinator in this process, clients over real HTTP against a real server."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.coordinator.advance import advance
from api.coordinator.advance import store as coordinator
from api.coordinator.export import build
from api.db import jobs, rounds
from api.db.session import reading
from fedkrso_core import estimate as estimating
from fedkrso_core import simulate
from fedkrso_core.spec import parse
from tests.api.exchange import as_worker, claim, lease, run_to_the_end, submit
from tests.oracle import Oracle
from worker.client import ClientProcess

Json = dict[str, Any]
MakeJob = Callable[..., Json]
BYTES = ("round", "clients", "bytes_up", "bytes_down", "metrics")


@pytest.mark.parametrize(
    "method",
    [{"name": "fedkrso", "rank": 2, "seeds": 3, "interval": 2}, {"name": "ffa_lora", "rank": 2}],
    ids=lambda method: method["name"],
)
def test_the_service_does_what_a_simulation_does(
    http: httpx.Client, worker: ClientProcess, tiny_job: MakeJob, tmp_path: Path, method: Json
) -> None:
    spec = tiny_job(method=method)
    job_id = submit(http, spec)
    job = run_to_the_end(http, worker, job_id)
    assert job["state"] == "done"
    records: list[Json] = []
    summary = simulate.run(parse(spec), tmp_path / "simulated", on_round=records.append)
    rounds = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    assert job["model_sha256"] == summary["model_sha256"]
    assert [[r[n] for n in BYTES] for r in rounds] == [[r[n] for n in BYTES] for r in records]
    assert job["bytes_up"] == summary["totals"]["bytes_up"]
    assert job["bytes_down"] == summary["totals"]["bytes_down"]
    assert job["metrics"] == summary["metrics"]


def test_a_servers_momentum_outlives_its_coordinator(
    http: httpx.Client, worker: ClientProcess, engine: Engine, tiny_job: MakeJob, tmp_path: Path
) -> None:
    """Every step is taken by a coordinator that has just begun, from the blobs alone."""
    spec = tiny_job(
        rounds=3, method={"name": "ffa_lora", "rank": 2}, server={"optimizer": "fedadam"}
    )
    job_id = submit(http, spec)
    for _ in range(4):
        coordinator.cache_clear()
        advance(job_id)
        worker.drain()
    job = http.get(f"/v1/jobs/{job_id}").json()
    summary = simulate.run(parse(spec), tmp_path / "simulated")
    assert (job["state"], job["model_sha256"]) == ("done", summary["model_sha256"])
    with reading(engine) as session:
        kept = [row.server_digest for row in rounds.all_of(session, job_id)]
    assert [digest is None for digest in kept] == [True, True, True, False]


def test_a_language_model_is_trained_by_the_service(
    http: httpx.Client, worker: ClientProcess, engine: Engine, tiny_files: Path, tmp_path: Path
) -> None:
    spec = {
        "name": "lm",
        "task": "causal-lm",
        "model": "bytes",
        "data": {"train": str(tiny_files / "rows.jsonl"), "prompt": "{label}: "},
        "partition": {"kind": "iid"},
        "clients": {"count": 2, "per_round": 2},
        "rounds": 2,
        "local": {"steps": 3, "batch_size": 4, "max_length": 24, "lr": 0.003},
        "evaluate": {"answers": 2, "answer_tokens": 4},
        "method": {"name": "fedavg"},
    }
    job_id = submit(http, spec)
    job = run_to_the_end(http, worker, job_id)
    asked = ("state", "task", "headline", "higher_is_better")
    assert [job[name] for name in asked] == ["done", "causal-lm", "perplexity", False]
    assert set(job["metrics"]) == {"perplexity", "loss", "exact_match"}
    summary = simulate.run(parse(spec), tmp_path / "simulated")
    assert (job["model_sha256"], job["metrics"]) == (summary["model_sha256"], summary["metrics"])
    with reading(engine) as session:
        events = jobs.events(session, job_id, 0, 1000)
    told = [event.text for event in events if event.kind == "round-measured"]
    assert told[-1] == f"Round 2: perplexity {job['metrics']['perplexity']:.3f}"


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        ("fedkrso", {"dtype": "bf16"}),
        ("fedkrso", {"dtype": "int8", "download": "int4"}),
        ("fedit", {"dtype": "int8", "error_feedback": False}),
        ("fedit", {"dtype": "int4", "compression": "zstd"}),
        ("fedkrso", {"compression": "zstd"}),
    ],
    ids=str,
)
def test_with_fewer_bits_too(
    http: httpx.Client,
    worker: ClientProcess,
    tiny_job: MakeJob,
    tmp_path: Path,
    method: str,
    wire: Json,
) -> None:
    spec = tiny_job(method={"name": method, "rank": 2}, wire=wire, rounds=2)
    job_id = submit(http, spec)
    job = run_to_the_end(http, worker, job_id)
    records: list[Json] = []
    summary = simulate.run(parse(spec), tmp_path / "simulated", on_round=records.append)
    rounds = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    assert job["model_sha256"] == summary["model_sha256"]
    assert [[r[n] for n in BYTES] for r in rounds] == [[r[n] for n in BYTES] for r in records]


def test_the_model_of_any_round_can_be_taken_home(
    http: httpx.Client, worker: ClientProcess, tiny_job: MakeJob, tmp_path: Path
) -> None:
    job_id = submit(http, tiny_job())
    job = run_to_the_end(http, worker, job_id)
    asked = http.get(f"/v1/jobs/{job_id}/model")
    assert (asked.status_code, asked.headers["retry-after"]) == (202, "1")
    build(job_id, 2)
    answer = http.get(f"/v1/jobs/{job_id}/model")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "taken")
    taken = tmp_path / "taken"
    summary = json.loads((taken / "summary.json").read_text())
    assert summary["model_sha256"] == job["model_sha256"]
    assert len((taken / "rounds.jsonl").read_text().splitlines()) == 2
    assert weights_sha256(taken / "model") == job["model_sha256"]
    earlier = {"round": 1}
    assert http.get(f"/v1/jobs/{job_id}/model", params=earlier).status_code == 202
    build(job_id, 1)
    answer = http.get(f"/v1/jobs/{job_id}/model", params=earlier)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert json.loads(archive.read("summary.json"))["rounds"] == 1


def test_a_job_that_stopped_early_has_the_model_of_its_last_round(
    http: httpx.Client,
    worker: ClientProcess,
    tiny_job: MakeJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimating, "estimate", Oracle().estimate, raising=False)
    spec = tiny_job(rounds=4, evaluate={"every": 3}, budget={"memory": 1000})
    job_id = submit(http, spec)
    job = run_to_the_end(http, worker, job_id)
    assert (job["state"], job["rounds_closed"], job["rounds"]) == ("done", 1, 4)
    assert job["reason"].startswith("budget.memory: a client reported ")
    summary = simulate.run(parse(spec), tmp_path / "simulated")
    assert (job["model_sha256"], job["metrics"]) == (summary["model_sha256"], summary["metrics"])
    build(job_id, 1)
    answer = http.get(f"/v1/jobs/{job_id}/model")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "taken")
    taken = json.loads((tmp_path / "taken/summary.json").read_text())
    assert (taken["rounds"], taken["stopped"]) == (1, job["reason"])
    assert taken["metrics"] == job["metrics"] != {}
    assert weights_sha256(tmp_path / "taken/model") == job["model_sha256"]


def weights_sha256(folder: Path) -> str:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from fedkrso_core.models import weights_of
    from fedkrso_core.payload import tensors_sha256

    assert AutoTokenizer.from_pretrained(folder)("red sea")["input_ids"]
    return tensors_sha256(weights_of(AutoModelForSequenceClassification.from_pretrained(folder)))


def test_a_client_that_fails_once_is_tried_again(
    http: httpx.Client, worker: ClientProcess, tiny_job: MakeJob
) -> None:
    job_id = submit(http, tiny_job(rounds=1))
    advance(job_id)
    lost = http.post("/v1/assignments/claim", json={"worker": "w0"}, headers=as_worker()).json()
    path = f"/v1/assignments/{lost['id']}/fail"
    assert http.post(path, json={"reason": "no disk"}, headers=lease(lost)).status_code == 204
    assert run_to_the_end(http, worker, job_id)["state"] == "done"
    clients = http.get(f"/v1/jobs/{job_id}/rounds/1/clients").json()["items"]
    assert sorted(item["attempt"] for item in clients) == [1, 2]
    assert all(item["error"] is None for item in clients)


def test_data_that_changed_fails_the_job_with_the_reason(
    http: httpx.Client, tiny_job: MakeJob, tiny_files: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = (tiny_files / "rows.jsonl").read_text().splitlines()
    rows.write_text("\n".join(lines))
    job_id = submit(http, tiny_job(data={"train": str(rows)}))
    rows.write_text("\n".join(lines[:-1]))
    advance(job_id)
    job = http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "failed"
    assert "give all machines the same data" in job["reason"]
    assert http.post("/v1/assignments/claim", json={"worker": "w"}, headers=as_worker()).is_success


def test_a_worker_is_told_the_job_as_it_was_submitted(
    http: httpx.Client, tiny_job: MakeJob
) -> None:
    job_id = submit(http, tiny_job())
    advance(job_id)
    assignment = claim(http)
    assert assignment["job"] == job_id
    assert assignment["spec"] == http.get(f"/v1/jobs/{job_id}").json()["spec"]
    assert [state["lacking"] for state in assignment["states"]] == [True]
