"""Runs a sweep of jobs through the service, several at once, and keeps what is finished.

    python benchmarks/glue/sweep.py benchmarks/glue/minilm.yaml                 # data of the hub
    python benchmarks/glue/sweep.py benchmarks/glue/minilm.yaml --data FOLDER   # files below it
    python benchmarks/glue/sweep.py CONFIG --tasks banking77 --minutes 30       # as far as it goes
    python benchmarks/glue/sweep.py CONFIG --server URL                         # FEDKRSO_API_KEY

Starts the service of `fedkrso up` in --home, or uses one that runs, and keeps --jobs jobs open. A
run that is in the ledger is not run again: stopped and started, the sweep goes on where it was; a
job that was cut off goes on in the service, whose state is in --home. `results.py` makes the
tables.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from ledger import Ledger, missing
from plan import Json, Run, Sweep, cells, read

from cli.service import Wanted, serving
from cli.state import Home

ENDED = ("done", "failed", "cancelled")
HERE = Path(__file__).parent


@contextmanager
def service(given: argparse.Namespace) -> Iterator[httpx.Client]:
    """Speaks to the service that was named, or to one that lives as long as the sweep."""
    if given.server:
        headers = {"Authorization": f"Bearer {os.environ['FEDKRSO_API_KEY']}"}
        with httpx.Client(base_url=given.server, headers=headers, timeout=120.0) as http:
            yield http
        return
    home = Home(given.home.resolve())
    wanted = Wanted(port=0, workers=given.workers, dashboard=False)
    with serving(home, wanted, lambda _: None) as server:
        headers = {"Authorization": f"Bearer {home.secret('api_key')}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=120.0) as http:
            yield http


def submit(http: httpx.Client, spec: Json) -> str:
    """The id of the job; one of that name that an interrupted sweep has begun is gone on with."""
    found = http.get("/v1/jobs", params={"search": spec["name"], "limit": 1}).json()["items"]
    if found and found[0]["state"] not in ("failed", "cancelled"):
        return str(found[0]["id"])
    made = http.post("/v1/jobs", json=spec)
    if made.is_error:
        raise SystemExit(f"{spec['name']}: {made.text}")
    return str(made.json()["id"])


def outcome(http: httpx.Client, job: Json) -> Json:
    """What the ledger keeps of a job that has ended; bytes are means for a client in a round."""
    if job["state"] != "done":
        return {"error": job["reason"]}
    rounds = http.get(f"/v1/jobs/{job['id']}/rounds").json()["items"]
    parts = sum(item["done"] for item in rounds)
    curve = [
        [item["round"], item["bytes_up"], item["bytes_down"], item["metrics"]] for item in rounds
    ]
    return {
        "metrics": job["metrics"],
        "bytes_up": round(sum(item["bytes_up"] for item in rounds) / parts),
        "bytes_down": round(sum(item["bytes_down"] for item in rounds) / parts),
        "peak_memory_bytes": max(item["peak_memory_bytes"] or 0 for item in rounds),
        "train_s": round(sum(item["seconds"].get("train", 0.0) for item in rounds), 1),
        "rounds": curve,
        "model_sha256": job["model_sha256"],
    }


class Desk:
    """Submits runs, at most so many at once, and writes down what ended."""

    def __init__(
        self, http: httpx.Client, sweep: Sweep, ledger: Ledger, given: argparse.Namespace
    ) -> None:
        self._http, self._sweep, self._ledger, self._given = http, sweep, ledger, given
        self._open: dict[str, Run] = {}
        self._chosen = [cell for cell in cells(sweep) if _wanted(cell, given)]

    def work(self, until: float) -> None:
        """Runs what is missing until all is there, or the time is used up."""
        while self._fill(time.monotonic() < until) or self._open:
            time.sleep(1.0)
            for job_id in list(self._open):
                job = self._http.get(f"/v1/jobs/{job_id}").json()
                if job["state"] in ENDED:
                    self._end(self._open.pop(job_id), job)

    def _fill(self, may_begin: bool) -> bool:
        if not may_begin or len(self._open) >= self._given.jobs:
            return False
        keys = {run.key for run in self._open.values()}
        left = [r for r in missing(self._sweep, self._ledger, self._chosen) if r.key not in keys]
        for run in left[: self._given.jobs - len(self._open)]:
            spec = run.local(self._sweep, self._given.data)
            self._open[submit(self._http, spec)] = run
        return bool(left)

    def _end(self, run: Run, job: Json) -> None:
        found = outcome(self._http, job)
        self._ledger.add(run, found)
        told = found.get("metrics") or found["error"]
        print(f"{job['name']}: {told}", flush=True)


def _wanted(cell: tuple[str, str, str], given: argparse.Namespace) -> bool:
    asked = (given.tasks, given.splits, given.methods)
    return all(names is None or name in names for name, names in zip(cell, asked, strict=True))


def main() -> None:
    """Runs what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the files that the config names")
    parser.add_argument("--ledger", type=Path, default=HERE / "runs.jsonl")
    parser.add_argument("--home", type=Path, default=Path("out/glue"))
    parser.add_argument("--server")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=4, help="open at once")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none after")
    for name in ("tasks", "splits", "methods"):
        parser.add_argument(f"--{name}", nargs="+")
    given = parser.parse_args()
    if given.data is not None:
        given.data = given.data.resolve()
    sweep = read(given.config)
    with service(given) as http:
        desk = Desk(http, sweep, Ledger(given.ledger), given)
        desk.work(time.monotonic() + 60 * given.minutes)


if __name__ == "__main__":
    main()
