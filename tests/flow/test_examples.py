"""The two examples take part in a real FedKRSO job, side by side, over HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.tiny import write_model, write_rows
from tests.flow.agents import taking, token
from tests.flow.rig import ROOT, Rig, environ_of, until

pytestmark = pytest.mark.slow


def environ() -> dict[str, str]:
    """Without this project on the path."""
    return {n: v for n, v in os.environ.items() if not n.startswith(("FEDKRSO_", "PYTHONPATH"))}


def test_clients_that_share_no_code_with_the_service_train_with_it(tmp_path: Path) -> None:
    for tool in ("curl", "jq", "sha256sum"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    write_model(tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl")
    job = {
        "name": "foreign",
        "model": str(tmp_path / "model"),
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "partition": {"kind": "iid"},
        "clients": {"simulated": 1, "external": {"min": 2}},
        "rounds": 1,
        "local": {"steps": 8, "batch_size": 8, "max_length": 8, "lr": 0.5, "optimizer": "sgd"},
        "method": {"name": "fedkrso", "rank": 2, "seeds": 3, "interval": 2},
    }
    with Rig(tmp_path / "home", environ_of(FEDKRSO_LEASE_S="30"), workers=1) as rig:
        rig.start_all()
        job_id = rig.submit(job)
        words = (rig.url, token(rig, {}), "foreign", str(tmp_path / "rows.jsonl"), "1")
        example = str(ROOT / "examples" / "http_client.py")
        foreign = subprocess.Popen(
            [sys.executable, example, *words],
            cwd=tmp_path,
            env=environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until(lambda: len(taking(rig, job_id)["items"]) == 1, "the Python client joins")
        script = str(ROOT / "examples" / "curl-client.sh")
        done = subprocess.run(
            [script, rig.url, token(rig, {}), "curl", "16"],
            cwd=tmp_path,
            env=environ(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (done.stdout, done.stderr, rig.logs())
        said = foreign.communicate(timeout=120)[0]
        assert foreign.returncode == 0, said
        found = rig.wait(job_id)
        assert found["state"] == "done", (found, rig.logs())
        seats = {seat["client"]: seat for seat in rig.seats(job_id, 1)}
        lost = [e["text"] for e in rig.events(job_id) if e["kind"] == "lease-lost"]
    assert "handed the lease back" in done.stdout
    assert any("a demonstration" in text for text in lost), lost
    assert "round 1: " in said
    assert {seat["state"] for seat in seats.values()} == {"done"}
    assert (seats[1]["num_examples"], seats[2]["num_examples"]) == (48, 1)
    assert seats[1]["metrics"]["loss"] > 0
    assert seats[2]["attempt"] == 2
