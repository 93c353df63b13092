"""A process that dies changes nothing but the time it takes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

pytestmark = pytest.mark.slow
STEPS = 200  # of a training that takes long enough to be hit


def _leased(http: httpx.Client, job_id: str, number: int) -> dict[str, Any]:
    """A client of a round that is in the middle of its training."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        answer = http.get(f"/v1/jobs/{job_id}/rounds/{number}/clients")
        for client in answer.json().get("items", []):
            if client["state"] == "leased" and 0 < client["step"] < client["steps"]:
                return dict(client)
        time.sleep(0.05)
    raise AssertionError(f"nobody trains in round {number}")


def test_worker_killed_in_a_round_changes_nothing(
    up: Any, job: dict[str, Any], undisturbed: Callable[..., Any]
) -> None:
    job["local"]["steps"] = STEPS
    alone = undisturbed(job)
    with up("--no-dashboard", FEDKRSO_LEASE_S="3") as service, service.client() as http:
        job_id = http.post("/v1/jobs", json=job).json()["id"]
        victim = _leased(http, job_id, 2)
        os.kill(int(victim["worker"].rsplit(":", 1)[1]), signal.SIGKILL)
        done = service.wait(job_id)
        served = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
        seats = http.get(f"/v1/jobs/{job_id}/rounds/2/clients").json()["items"]
        events = http.get(f"/v1/jobs/{job_id}/events?format=json").json()["items"]
    assert done["state"] == "done", done
    assert done["model_sha256"] == alone.summary["model_sha256"]
    assert [r["metrics"] for r in served] == [r["metrics"] for r in alone.rounds]
    assert [r["bytes_up"] for r in served] == [r["bytes_up"] for r in alone.rounds]
    assert max(seat["attempt"] for seat in seats) == 2
    assert "lease-lost" in {event["kind"] for event in events}


def _everything_of(service: Any) -> list[psutil.Process]:
    supervisor = psutil.Process(service.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def _pull_the_plug(family: list[psutil.Process]) -> None:
    """SIGKILL to all at once: none sees another die before it is dead itself."""
    for process in family:
        process.suspend()
    for process in family:
        process.kill()


def _end_the_supervisor(family: list[psutil.Process]) -> None:
    """SIGKILL to the supervisor alone; its children must not live on without it."""
    family[0].kill()


def test_service_killed_as_a_whole_goes_on_by_itself_when_started_again(
    up: Any, job: dict[str, Any], undisturbed: Callable[..., Any]
) -> None:
    job["local"]["steps"] = STEPS
    alone = undisturbed(job)
    quick = {"FEDKRSO_LEASE_S": "3", "FEDKRSO_AGGREGATE_LEASE_S": "3", "FEDKRSO_REHINT_S": "3"}
    job_id = None
    for number, fault in ((1, _end_the_supervisor), (2, _pull_the_plug)):
        with up("--no-dashboard", **quick) as service, service.client() as http:
            job_id = job_id or http.post("/v1/jobs", json=job).json()["id"]
            _leased(http, job_id, number)
            family = _everything_of(service)
            fault(family)
            service.process.wait()
            _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        (service.home / "server.json").unlink(missing_ok=True)
    with up("--no-dashboard", **quick) as again, again.client() as http:
        done = again.wait(str(job_id))
        served = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    assert done["state"] == "done", done
    assert done["model_sha256"] == alone.summary["model_sha256"]
    for field in ("metrics", "bytes_up", "bytes_down"):
        assert [r[field] for r in served] == [r[field] for r in alone.rounds]
