"""Flower's simulation, a plain loop and this project's whole service on the same work.

    python benchmarks/flower/side_by_side.py [--repeats 5] [--rounds 6] [--work lora noop]

`lora`: the training of `app/task.py`; `noop`: no training, 1 MB up and down. Each side starts from
nothing in every repeat, the sides take turns. The cold round is everything from the job's submit
to the end of round 1; steady is the mean of the others. Memory is the peak PSS of the side's whole
process tree: Flower's SuperLink with Ray; API, coordinator, two workers and their supervisor.

Flower gets an environment of its own, made at the first run in --venv from PyPI (2 GB). Prints
Markdown tables and what the sides' accuracies are: seconds of sides that do not reach the same
are not comparable.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "app")]

import task  # noqa: E402 - found by the line above
from servers import PeakMemory, environment, free_port  # noqa: E402

VERSIONS = (
    "flwr[simulation]==1.41.0",
    "torch==2.13.0",
    "transformers==5.23.0",
    "peft==0.21.2",
)


@dataclass(frozen=True)
class Run:
    """One repeat of one side."""

    cold_s: float
    steady_s: float
    accuracy: float | None
    peak_bytes: int
    processes: int


def loop(folder: Path, _: str, rounds: int) -> Run:
    """The plain loop."""
    command = [sys.executable, str(HERE / "loop.py"), str(folder), str(rounds)]
    began = time.time()
    found, memory = _measured(command, environment(folder))
    return _run(began, found["done"], found["accuracy"][-1], memory)


def service(folder: Path, work: str, rounds: int) -> Run:
    """This project, embedded: SQLite and a queue of files."""
    job, home = folder / "job.json", Path(tempfile.mkdtemp(dir=folder))
    job.write_text(json.dumps(job_of(folder, work, rounds)))
    command = [sys.executable, str(HERE.parent / "service_run.py"), str(job), str(home), "--noop"]
    # the other sides have the C library's own allocator too
    environ = environment(home, FEDKRSO_ALLOCATOR="fast")
    found, memory = _measured(command[: 5 if work == "noop" else 4], environ)
    accuracy = found["metrics"]["accuracy"] if work == "lora" else None
    cold = found["submit_s"] + found["cold_s"]
    return Run(cold, mean(found["steady_s"]), accuracy, memory.bytes, memory.processes)


def job_of(folder: Path, work: str, rounds: int) -> dict[str, Any]:
    """The same work as a job."""
    lora = {"name": "fedit", "rank": task.RANK, "alpha": task.ALPHA, "targets": ["query", "value"]}
    return {
        "name": work,
        "model": str(folder / "model"),
        "data": {
            "train": str(folder / "train.jsonl"),
            "validation": str(folder / "validation.jsonl"),
        },
        "partition": {"kind": "by-column", "column": "client"},
        "clients": {"count": task.CLIENTS, "per_round": task.CLIENTS},
        "rounds": rounds,
        "local": {
            "steps": task.STEPS,
            "batch_size": task.BATCH,
            "max_length": task.LENGTH,
            "lr": task.LR,
            "optimizer": "adamw",
        },
        # nobody evaluates in the other sides' rounds without work
        "evaluate": {"every": 1 if work == "lora" else rounds},
        "method": lora if work == "lora" else {"name": "noop", "kilobytes": 1000},
    }


def flower(python: Path) -> Callable[[Path, str, int], Run]:
    """Flower's simulation in its environment."""

    def run(folder: Path, work: str, rounds: int) -> Run:
        home = Path(tempfile.mkdtemp(dir=folder))
        environ = _flower_environment(home, python)
        with _superlink(home, python, environ) as pid, PeakMemory(pid) as memory:
            began, out = time.time(), home / "result.json"
            _submit(python, environ, folder, work, rounds, out)
            while not out.exists():
                time.sleep(0.2)
                if time.time() - began > 1800:
                    raise SystemExit(f"Flower did not end; see {home}")
            found = json.loads(out.read_text())
        accuracy = found["accuracy"][-1] if found["accuracy"] else None
        return _run(began, found["done"], accuracy, memory)

    return run


def _flower_environment(home: Path, python: Path) -> dict[str, str]:
    app = str(HERE / "app")
    off = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return environment(home, FLWR_HOME=str(home), PYTHONPATH=app, PATH=path, **off)


@contextmanager
def _superlink(home: Path, python: Path, environ: dict[str, str]) -> Iterator[int]:
    port = free_port()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "sim"\n\n[superlink.sim]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    command = [str(python.with_name("flower-superlink")), "--insecure", "--simulation"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    where.append("--disable-runtime-dependency-installation")
    with (home / "superlink.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *where], env=environ, stdout=log, stderr=log, start_new_session=True
        )
        try:
            time.sleep(8.0)
            yield process.pid
        finally:
            _end_tree(process)


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    import psutil

    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.terminate()
    for member in psutil.wait_procs(family, timeout=15)[1]:
        member.kill()
    process.wait()


def _submit(
    python: Path, environ: dict[str, str], folder: Path, work: str, rounds: int, out: Path
) -> None:
    federation = f"num-supernodes={task.CLIENTS} client-resources-num-cpus=1 init-args-num-cpus=2"
    config = f'work="{work}" folder="{folder}" out="{out}" rounds={rounds}'
    command = [str(python.with_name("flwr")), "run", str(HERE / "app"), "sim"]
    done = subprocess.run(
        [*command, "--federation-config", federation, "--run-config", config],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def _measured(command: list[str], environ: dict[str, str]) -> tuple[dict[str, Any], PeakMemory]:
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    with PeakMemory(process.pid) as memory:
        text = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return json.loads(text.splitlines()[-1]), memory


def _run(began: float, done: list[float], accuracy: float | None, memory: PeakMemory) -> Run:
    steady = [later - earlier for earlier, later in pairwise(done)]
    return Run(done[0] - began, mean(steady), accuracy, memory.bytes, memory.processes)


def prepare(venv: Path) -> Path:
    """Flower's Python; its environment is made if it is not there."""
    python = venv / "bin" / "python"
    if not python.with_name("flower-superlink").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *VERSIONS], check=True)
    return python


def show(work: str, found: dict[str, list[Run]]) -> None:
    """A table; figures are medians of the repeats, in brackets the lowest and the highest."""
    columns = "side", "cold round s", "steady s per round", "rounds/s", "accuracy", "peak GiB"
    print(f"\n{work}\n\n| {' | '.join(columns)} | processes |\n{'|---' * 7}|")
    for name, runs in found.items():
        steady = sorted(run.steady_s for run in runs)
        middle = median(steady)
        accuracies = sorted({f"{run.accuracy:.3f}" for run in runs if run.accuracy is not None})
        cells = [
            name,
            f"{median(run.cold_s for run in runs):.1f}",
            f"{middle:.2f} ({steady[0]:.2f} to {steady[-1]:.2f})",
            f"{1 / middle:.3f}",
            " ".join(accuracies),
            f"{max(run.peak_bytes for run in runs) / 2**30:.2f}",
            str(max(run.processes for run in runs)),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Runs everything and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--work", nargs="+", default=["lora", "noop"])
    parser.add_argument("--sides", nargs="+", default=["loop", "flower", "service"])
    parser.add_argument("--venv", type=Path, default=Path("out/flower-venv"))
    args = parser.parse_args()
    sides: dict[str, Callable[[Path, str, int], Run]] = {"loop": loop, "service": service}
    if "flower" in args.sides:
        sides["flower"] = flower(prepare(args.venv.absolute()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task.write_folder(folder)
        for work in args.work:
            names = [side for side in args.sides if (side, work) != ("loop", "noop")]
            found: dict[str, list[Run]] = {side: [] for side in names}
            for repeat in range(args.repeats):
                for side in names:
                    found[side].append(sides[side](folder, work, args.rounds))
                    print(f"{work} {repeat + 1}: {side} {found[side][-1]}", file=sys.stderr)
            show(work, found)


if __name__ == "__main__":
    main()
