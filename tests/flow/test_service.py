"""The whole path: submit, train on two workers over HTTP, export; and the same in one process."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fedkrso_core.data import load
from fedkrso_core.spec import parse

pytestmark = pytest.mark.slow


def test_service_and_single_process_end_in_the_same_model(
    up: Any, job: dict[str, Any], environ: dict[str, str], run_fedkrso: Any, tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    alone = run_fedkrso(environ, "run", str(file), "--out", str(tmp_path / "run"), "--json")
    assert alone.returncode == 0, alone.stderr
    summary = json.loads(alone.stdout)
    rounds = map(json.loads, (tmp_path / "run" / "rounds.jsonl").read_text().splitlines())
    with up("--no-dashboard") as service, service.client() as http:
        made = http.post("/v1/jobs", json=job)
        assert made.status_code == 201, made.text
        done = service.wait(made.json()["id"])
        assert done["state"] == "done", done
        assert done["model_sha256"] == summary["model_sha256"]
        served = http.get(f"/v1/jobs/{done['id']}/rounds").json()["items"]
        for here, there in zip(rounds, served, strict=True):
            for field in ("round", "metrics", "bytes_up", "bytes_down", "clients"):
                assert here[field] == there[field], field
        out = tmp_path / "export"
        assert service.cli("export", done["id"], "--out", str(out)).returncode == 0
    exported = json.loads((out / "summary.json").read_text())
    assert exported["model_sha256"] == summary["model_sha256"]
    assert {p.name for p in out.iterdir()} == {"rounds.jsonl", "summary.json", "model"}


def test_a_bad_job_is_one_readable_line_and_keys_are_private_files(
    up: Any, job: dict[str, Any], tmp_path: Path
) -> None:
    job["method"]["rank"] = 64
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(job))
    with up("--no-dashboard") as service:
        refused = service.cli("submit", str(file))
        assert json.loads(service.cli("jobs", "--json").stdout)["items"] == []
        names = ("api_key", "worker_key")
        keys = [(service.home / name).read_text().strip() for name in names]
        modes = {(service.home / name).stat().st_mode & 0o777 for name in names}
        written = service.logs()
        database = (service.home / "fedkrso.db").read_bytes()
    assert refused.returncode == 2
    assert "method.rank" in refused.stderr
    assert "64" in refused.stderr
    assert "allowed: 1 to 32" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert modes == {0o600}
    assert not any(key in written for key in keys)
    assert not any(key.encode() in database for key in keys)


def test_stopping_leaves_no_process_behind(up: Any) -> None:
    with up() as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        assert len(family) >= 5  # api, coordinator, two workers, dashboard
    # the server of forks ends when it sees that the command has ended
    assert not psutil.wait_procs(family, timeout=5)[1]


@pytest.mark.timeout(600)
def test_demo_trains_the_real_model_and_stops(environ: dict[str, str], run_fedkrso: Any) -> None:
    with socket.create_server(("127.0.0.1", 8000)) if _is_free(8000) else nullcontext():
        done = run_fedkrso(environ, "demo", timeout_s=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "port 8000 is taken; using" in done.stdout
    home = Path(environ["FEDKRSO_HOME"])
    (out,) = (home / "exports").iterdir()
    assert str(out) in done.stdout
    summary = json.loads((out / "summary.json").read_text())
    lines = (out / "rounds.jsonl").read_text().splitlines()
    curve = [json.loads(line)["metrics"]["accuracy"] for line in lines]
    assert len(curve) == 6
    assert curve[-1] > 0.60 > curve[0]
    assert _accuracy(out / "model", summary["spec"]) == pytest.approx(curve[-1], abs=1e-9)
    assert not [p for p in psutil.process_iter() if _of(p, home)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _of(process: psutil.Process, home: Path) -> bool:
    try:
        return process.cwd() == str(home)
    except psutil.Error:
        return False


def _accuracy(model: Path, spec: dict[str, Any]) -> float:
    """Accuracy of an exported model with transformers alone."""
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    _, validation = load(parse(spec).data, spec["seed"])
    right = 0
    for start in range(0, len(validation), 64):
        texts = validation.texts[start : start + 64]
        length = spec["local"]["max_length"]
        batch = tokenizer(
            texts, truncation=True, max_length=length, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            answers = classifier(**batch).logits.argmax(-1).tolist()
        truth = validation.labels[start : start + 64]
        right += sum(a == b for a, b in zip(answers, truth, strict=True))
    return right / len(validation)
