"""The whole service with its blobs in S3: workers and the command line follow the links there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.bucket import environment, new_bucket, s3_server

pytestmark = pytest.mark.slow

_PATIENCE_S = 300.0


def objects(endpoint: str, bucket: str) -> int:
    listing = httpx.get(f"{endpoint}/{bucket}?list-type=2", trust_env=False).text
    return listing.count("<Key>")


def test_a_job_over_s3_gives_the_same_model_and_leaves_nothing_once_deleted(
    up: Any,
    job: dict[str, Any],
    undisturbed: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = undisturbed(job)
    with s3_server() as endpoint:
        bucket = new_bucket(endpoint, monkeypatch)
        store = {
            "FEDKRSO_BLOB_URL": f"s3://{bucket}/fedkrso",
            "FEDKRSO_BLOB_GRACE_S": "10",
            "FEDKRSO_COLLECT_EVERY_S": "1",
            **environment(endpoint),
        }
        with up("--no-dashboard", **store) as service, service.client() as http:
            job_id = http.post("/v1/jobs", json=job).json()["id"]
            done = service.wait(job_id, 240.0)
            served = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
            out = tmp_path / "exported"
            exported = service.cli("export", job_id, "--out", str(out))
            assert exported.returncode == 0, exported.stderr
            assert (out / "model" / "config.json").exists()
            assert not list((service.home / "blobs").glob("??/*"))
            assert objects(endpoint, bucket) > 0
            deleted = service.cli("delete", job_id, "--yes")
            assert deleted.returncode == 0, deleted.stderr
            end = time.monotonic() + _PATIENCE_S
            while objects(endpoint, bucket) and time.monotonic() < end:
                time.sleep(0.5)
            assert objects(endpoint, bucket) == 0
            logs = service.logs()
    assert done["state"] == "done", done
    assert done["model_sha256"] == alone.summary["model_sha256"]
    assert [r["bytes_down"] for r in served] == [r["bytes_down"] for r in alone.rounds]
    assert [r["bytes_up"] for r in served] == [r["bytes_up"] for r in alone.rounds]
    assert "X-Amz-Signature" not in logs
    assert "test-secret" not in logs
