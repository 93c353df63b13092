"""The whole path: submit, train on two workers over HTTP, export; and the same in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

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


def test_bad_jobs_private_keys_and_no_process_left_behind(
    up: Any, job: dict[str, Any], tmp_path: Path
) -> None:
    job["method"]["rank"] = 64
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(job))
    with up() as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        assert len(family) >= 5  # api, coordinator, two workers, dashboard
        refused = service.cli("submit", str(file))
        assert json.loads(service.cli("jobs", "--json").stdout)["items"] == []
        names = ("api_key", "worker_key")
        keys = [(service.home / name).read_text().strip() for name in names]
        modes = {(service.home / name).stat().st_mode & 0o777 for name in names}
        written = service.logs()
        database = (service.home / "fedkrso.db").read_bytes()
    # the server of forks ends when it sees that the command has ended
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert refused.returncode == 2
    assert "method.rank" in refused.stderr
    assert "64" in refused.stderr
    assert "allowed: 1 to 32" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert modes == {0o600}
    assert not any(key in written for key in keys)
    assert not any(key.encode() in database for key in keys)
