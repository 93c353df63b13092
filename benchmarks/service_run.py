"""Runs one job on the whole service and prints what it took as a line of JSON.

    python benchmarks/service_run.py JOB.json HOME [--workers 2] [--noop]

The service is that of `fedkrso up --no-dashboard`, its database and broker those of the
environment. With --noop its programs know the method of `noop.py`. Benchmarks start this as a
process, so that its memory, with all that it starts, can be measured as a tree.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from cli import plan
from cli.process import Command
from cli.service import Wanted, serving
from cli.state import Home

_NOOP = {
    "api.main:app": "noop:api",
    "api.coordinator.app:app": "noop:coordinator",
    "worker.tasks:app": "noop:worker",
}


def noop_plan(home: Home, layout: plan.Layout, environ: Mapping[str, str]) -> Sequence[Command]:
    """The service's processes with the method that does nothing."""
    return [_with_noop(command) for command in plan.commands(home, layout, environ)]


def _with_noop(command: Command) -> Command:
    path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    arguments = tuple(_NOOP.get(word, word) for word in command.arguments)
    return replace(command, arguments=arguments, environ={**command.environ, "PYTHONPATH": path})


def run(job: dict[str, Any], home: Home, workers: int, noop: bool) -> dict[str, Any]:
    """Starts the service, runs the job, and stops the service."""
    began = time.time()
    how = {"make_plan": noop_plan} if noop else {}
    wanted = Wanted(port=0, workers=workers, dashboard=False)
    with serving(home, wanted, lambda _: None, **how) as server:
        headers = {"Authorization": f"Bearer {home.secret('api_key')}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=120.0) as http:
            ready = time.time()
            made = http.post("/v1/jobs", json=job)
            if made.is_error:
                sys.exit(made.text)
            submitted, job_id = time.time(), made.json()["id"]
            ended = _wait(http, job_id)
            rounds = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    closed = [_seconds(item["closed_at"]) for item in rounds]
    return {
        "ready_s": ready - began,
        "submit_s": submitted - ready,
        "cold_s": closed[0] - submitted,
        "steady_s": [later - earlier for earlier, later in pairwise(closed)],
        "metrics": ended["metrics"],
        "bytes_up": ended["bytes_up"] // sum(item["done"] for item in rounds),
        "phases": {
            k: sum(r["seconds"].get(k, 0) for r in rounds[1:]) for k in rounds[0]["seconds"]
        },
    }


def _wait(http: httpx.Client, job_id: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").json()
        if found["state"] == "done":
            return found
        if found["state"] not in ("queued", "running"):
            sys.exit(f"the job is {found['state']}: {found['reason']}")
        time.sleep(0.5)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("job", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--noop", action="store_true")
    args = parser.parse_args()
    job = json.loads(args.job.read_text(encoding="utf-8"))
    print(json.dumps(run(job, Home(args.home), args.workers, args.noop)))


if __name__ == "__main__":
    main()
