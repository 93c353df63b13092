"""Uploaded rows on the way to a model: a worker on another machine gets them over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from fedkrso_core import simulate
from fedkrso_core.spec import parse
from fedkrso_core.uploads import Uploaded
from tests.api.elsewhere import Elsewhere
from tests.api.exchange import WORKER_KEY, run_to_the_end, submit

Json = dict[str, Any]


def test_a_worker_elsewhere_trains_on_uploaded_rows_as_one_process_does_on_the_file(
    http: httpx.Client,
    server: str,
    tiny_job: Callable[..., Json],
    tiny_files: Path,
    tmp_path: Path,
) -> None:
    content = (tiny_files / "rows.jsonl").read_bytes()
    made = http.post("/v1/uploads?name=rows.jsonl", content=content).json()
    spec = tiny_job(data={"train": made["source"], "validation": made["source"]})
    forecast = http.post("/v1/jobs:estimate", json=spec, timeout=120)
    assert forecast.json()["forecasts"][0]["method"] == "fedkrso", forecast.text
    job_id = submit(http, spec)
    upload = Uploaded.of(made["source"])
    assert upload is not None
    upload.path.unlink()  # as if the coordinator were on another machine than the API
    with Elsewhere(server, WORKER_KEY, tmp_path / "elsewhere") as worker:
        job = run_to_the_end(http, worker, job_id)
    assert job["state"] == "done", job["reason"]
    for home in (upload.path.parent, tmp_path / "elsewhere" / "uploads"):
        assert [path.name for path in home.iterdir()] == [upload.path.name]
        assert (home / upload.path.name).read_bytes() == content
    path = str(tiny_files / "rows.jsonl")
    alone = simulate.run(
        parse(tiny_job(data={"train": path, "validation": path})), tmp_path / "alone"
    )
    assert job["model_sha256"] == alone["model_sha256"]
    assert job["metrics"] == alone["metrics"]
    assert job["bytes_down"] == alone["totals"]["bytes_down"]
