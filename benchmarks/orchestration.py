"""What a round costs beside the training: a job whose clients do nothing, with real payloads.

    python benchmarks/orchestration.py [--rounds 12] [--repeats 3] [--on embedded servers]

10 clients that all take part in every round, 1 MB down and 1 MB up for each, 2 workers; the method
is that of `noop.py`. `embedded` is SQLite with the queue of files, `servers` PostgreSQL with Redis
(TEST_POSTGRES and TEST_REDIS say where; the database of Redis is emptied). The cold round is all
from the submit to the end of round 1, in which every process loads its libraries and the model;
the others are timed from end to end. Prints a Markdown table with medians over all rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import redis
from servers import REDIS, PeakMemory, database, environment

HERE = Path(__file__).parent
sys.path.append(str(HERE / "flower" / "app"))

import task  # noqa: E402 - found by the line above

CLIENTS, BARS_S = 10, {"embedded": 0.4, "servers": 0.15}


def job_of(folder: Path, rounds: int) -> dict[str, Any]:
    """A job without work; the model and the rows are tiny, but real."""
    return {
        "name": "noop",
        "model": str(folder / "model"),
        "data": {
            "train": str(folder / "train.jsonl"),
            "validation": str(folder / "validation.jsonl"),
        },
        "partition": {"kind": "iid"},
        "clients": {"count": CLIENTS, "per_round": CLIENTS},
        "rounds": rounds,
        "local": {"steps": 1, "batch_size": 1, "max_length": task.LENGTH},
        "evaluate": {"every": rounds},
        "method": {"name": "noop", "kilobytes": 1000},
    }


def run(on: str, folder: Path, rounds: int, workers: int) -> tuple[dict[str, Any], PeakMemory]:
    """One repeat in a state folder of its own."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        more = {}
        if on == "servers":
            redis.Redis.from_url(REDIS).flushdb()
            url = stack.enter_context(database("postgresql", home))
            more = {"FEDKRSO_DATABASE_URL": url, "FEDKRSO_BROKER_URL": REDIS}
        job = home / "job.json"
        job.write_text(json.dumps(job_of(folder, rounds)), encoding="utf-8")
        command = [sys.executable, str(HERE / "service_run.py"), str(job), str(home / "state")]
        process = subprocess.Popen(
            [*command, "--noop", "--workers", str(workers)],
            env=environment(home, **more),
            stdout=subprocess.PIPE,
            text=True,
        )
        with PeakMemory(process.pid) as memory:
            text = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"{on}: the run ended with {process.returncode}")
        return json.loads(text.splitlines()[-1]), memory


def row(on: str, found: list[tuple[dict[str, Any], PeakMemory]], workers: int) -> str:
    """A line of the table."""
    steady = sorted(seconds for result, _ in found for seconds in result["steady_s"])
    a_round, slowest = median(steady), steady[-1]
    cold = median(result["submit_s"] + result["cold_s"] for result, _ in found)
    aggregating = [r["phases"]["aggregate"] / len(r["steady_s"]) for r, _ in found]
    cells = [
        on,
        str(workers),
        f"{cold:.1f}",
        f"{a_round:.2f} (to {slowest:.2f})",
        f"{a_round / CLIENTS:.3f}",
        f"{BARS_S[on]:.2f}",
        f"{median(aggregating):.3f}",
        f"{max(memory.bytes for _, memory in found) / 2**30:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on", nargs="+", default=["embedded", "servers"], choices=BARS_S)
    args = parser.parse_args()
    print("| service | workers | cold s | s per round | s per client-round | bar | aggregate s "
          "| peak GiB |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task.write_folder(folder)
        for on in args.on:
            found = [run(on, folder, args.rounds, args.workers) for _ in range(args.repeats)]
            print(row(on, found, args.workers), flush=True)


if __name__ == "__main__":
    main()
