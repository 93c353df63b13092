"""Cancel, pause and a full disk in the real service: training stops in seconds, nothing is lost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow

Json = dict[str, Any]
SOON_S = 300.0  # of a loaded machine; the training would take hours


def _until(what: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    """What is asked for, as soon as it is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come true")


def _job(http: httpx.Client, job_id: str) -> Json:
    return dict(http.get(f"/v1/jobs/{job_id}").json())


def _clients(http: httpx.Client, job_id: str, number: int = 1) -> list[Json]:
    return list(http.get(f"/v1/jobs/{job_id}/rounds/{number}/clients").json().get("items", []))


def _training(http: httpx.Client, job_id: str, number: int = 1) -> bool:
    seats = _clients(http, job_id, number)
    return any(seat["state"] == "leased" and seat["step"] > 0 for seat in seats)


def _is_free(http: httpx.Client, quick: Json, wait: Callable[..., Json]) -> None:
    """A worker that still trained for something else could not finish this job so soon."""
    job_id = http.post("/v1/jobs", json=quick).json()["id"]
    assert wait(job_id, SOON_S)["state"] == "done"


def test_cancel_and_pause_stop_a_long_training_within_seconds(up: Any, job: Json) -> None:
    quick = {**job, "name": "quick", "rounds": 1, "local": {**job["local"], "steps": 2}}
    long = {**job, "name": "long", "local": {**job["local"], "steps": 1_000_000}}
    with up("--no-dashboard", "--workers", "1") as service, service.client() as http:
        job_id = http.post("/v1/jobs", json=long).json()["id"]
        _until(lambda: _training(http, job_id))
        assert service.cli("pause", job_id).stdout.split()[-1] == "paused"
        _is_free(http, quick, service.wait)  # the one worker is at it, so it stopped training
        assert [seat["attempt"] for seat in _clients(http, job_id)] == [0, 0, 0]
        assert service.cli("resume", job_id).stdout.split()[-1] == "running"
        _until(lambda: _training(http, job_id))
        assert http.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
        _is_free(http, quick, service.wait)


@pytest.fixture
def small_disk(environ: dict[str, str]) -> Iterator[Path]:
    """The blobs of the service on a small disk of their own."""
    folder = Path(environ["FEDKRSO_HOME"]) / "blobs"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_pauses_the_job_and_loses_nothing(
    up: Any, job: Json, undisturbed: Callable[..., Any], small_disk: Path
) -> None:
    job["local"]["steps"] = 80
    alone = undisturbed(job)
    with up("--no-dashboard", FEDKRSO_KEEP_FREE_BYTES="0") as service, service.client() as http:
        job_id = http.post("/v1/jobs", json=job).json()["id"]
        _until(lambda: any(seat["state"] == "leased" for seat in _clients(http, job_id, 2)))
        ballast = small_disk / "ballast"
        with ballast.open("ab") as file, suppress(OSError):
            while os.write(file.fileno(), b"x" * 4096):
                pass
        paused = _until(lambda: (now := _job(http, job_id))["state"] == "paused" and now)
        assert paused["reason"].startswith("no room on the service's disk")
        ballast.unlink()
        done = _until(lambda: (now := _job(http, job_id))["state"] == "done" and now)
        seats = [seat for number in (1, 2, 3) for seat in _clients(http, job_id, number)]
        served = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
        events = http.get(f"/v1/jobs/{job_id}/events?format=json").json()["items"]
    assert done["model_sha256"] == alone.summary["model_sha256"]
    assert [r["metrics"] for r in served] == [r["metrics"] for r in alone.rounds]
    assert [r["bytes_up"] for r in served] == [r["bytes_up"] for r in alone.rounds]
    # whoever waited with an update handed that one in: nobody trained again
    assert [seat["attempt"] for seat in seats] == [1] * 9
    assert {"paused", "resumed"} <= {event["kind"] for event in events}
