"""Every method of the registry side by side on SST-2 with label-skewed clients.

    python benchmarks/methods.py --out out/methods                # data from the hub: glue/sst2
    python benchmarks/methods.py --out out/methods --data FOLDER  # train/validation.jsonl.gz in it
    python benchmarks/methods.py --out out/methods --table        # what is finished so far

MiniLM, 10 clients, Dirichlet(0.5). For each method some learning rates are tried in short jobs
whose validation rows are a held-out tenth of train; the best by loss is trained in full, once, and
measured on the validation rows of SST-2, which chose nothing. Each run is a `fedkrso run` in a
process of its own, and writes one line to runs.jsonl when it is finished: a run that has its line
is not run again, so the script can be stopped and started at any time. Methods of which nothing is
known here are tried with their defaults. Personal methods are measured on the clients' own models.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from fedkrso_core.methods import METHODS

# options beside the defaults, and the learning rates that are tried
LORA = {"rank": 4, "alpha": 8}
TRIED: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "fedkrso": ({"rank": 4, "seeds": 10, "interval": 10}, (3e-4, 6e-4, 1.2e-3)),
    "fedavg": ({}, (5e-5, 1e-4, 2e-4)),
    "gradualdiff": ({}, (5e-5, 1e-4, 2e-4)),
    "fedcybgd": ({}, (1e-4, 2e-4, 4e-4)),
    "ferret": ({}, (1e-4, 3e-4, 1e-3)),
    "fedkseed": ({}, (1e-5, 1e-4, 1e-3)),
    "slora": (LORA, (1e-3, 2e-3, 4e-3)),
    "fedit": (LORA, (1e-3, 2e-3, 4e-3)),
    "flora": (LORA, (1e-3, 2e-3, 4e-3)),
    "flexlora": (LORA, (1e-3, 2e-3, 4e-3)),
    "fedex_lora": (LORA, (1e-3, 2e-3, 4e-3)),
    "fedsa_lora": (LORA, (1e-3, 2e-3, 4e-3)),
    "ffa_lora": (LORA, (3e-3, 6e-3, 1.2e-2)),
    "rolora": (LORA, (3e-3, 6e-3, 1.2e-2)),
    "fed_sb": ({"rank": 32}, (3e-3, 1e-2, 3e-2)),
    "fedtt": ({}, (3e-3, 1e-2, 3e-2)),
    "fedtt_plus": ({}, (3e-3, 1e-2, 3e-2)),
}
UNKNOWN: tuple[dict[str, Any], tuple[float, ...]] = ({}, (1e-4, 1e-3, 1e-2))


def job(method: str, lr: float, given: argparse.Namespace, held_out: bool) -> dict[str, Any]:
    """The job file of one run; a sweep's has a part of train as its validation rows."""
    source = {"train": "hf:glue/sst2", "validation": "hf:glue/sst2"}
    if given.data is not None:
        source = {part: str(given.data / f"{part}.jsonl.gz") for part in source}
    if held_out:
        source |= {"validation": None, "max_rows": given.sweep_rows}
    rounds = given.sweep_rounds if held_out else given.rounds
    local = {"steps": given.steps, "batch_size": 16, "max_length": 64, "lr": lr, "head_lr": 1e-3}
    return {
        "name": f"sst2-{method}",
        "model": "minilm",
        "data": {**source, "text": "sentence", "label": "label"},
        "partition": {"kind": "dirichlet", "alpha": 0.5},
        "clients": {"count": 10, "per_round": 10},
        "rounds": rounds,
        "local": local,
        "method": {"name": method, **TRIED.get(method, UNKNOWN)[0]},
        "evaluate": {"every": rounds},
        "seed": 0,
    }


class Ledger:
    """The finished runs, one a line of runs.jsonl, by the job that each has run."""

    def __init__(self, out: Path) -> None:
        self._out, self._path = out, out / "runs.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        self._known = {json.dumps(line["job"], sort_keys=True): line for line in lines}

    def of(self, spec: dict[str, Any], run_missing: bool) -> dict[str, Any] | None:
        """The line of a job, which is run if it has none; None if it is not to be run."""
        key = json.dumps(spec, sort_keys=True)
        if key not in self._known and run_missing:
            self._known[key] = self._run(spec)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._known[key]) + "\n")
        return self._known.get(key)

    def _run(self, spec: dict[str, Any]) -> dict[str, Any]:
        file, folder = self._out / "job.yaml", self._out / "run"
        file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("fedkrso")), "run", str(file)]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(folder)], check=False, capture_output=True, text=True
        )
        seconds = round(time.perf_counter() - began, 1)
        if done.returncode:
            error = (done.stderr or done.stdout).strip()[-500:]
            if "lower local.lr" not in error:  # training diverged: that is a result, all else not
                sys.exit(f"{spec['name']}: {error}")
            return {"job": spec, "seconds": seconds, "error": error}
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        kept = {name: summary[name] for name in ("metrics", "totals", "rounds", "device")}
        return {"job": spec, "seconds": seconds, **kept}


def best_rate(method: str, ledger: Ledger, given: argparse.Namespace) -> float | None:
    """The rate of the smallest held-out loss; None if no run of the sweep is finished."""
    losses: dict[float, float] = {}
    for lr in TRIED.get(method, UNKNOWN)[1]:
        line = ledger.of(job(method, lr, given, held_out=True), not given.table)
        if line is not None and "metrics" in line:
            losses[lr] = float(line["metrics"].get("loss", math.inf))
    return min(losses, key=lambda lr: losses[lr]) if losses else None


def row(method: str, ledger: Ledger, given: argparse.Namespace) -> str | None:
    """A line of the table; bytes are means for one client in one round."""
    lr = best_rate(method, ledger, given)
    spec = None if lr is None else job(method, lr, given, held_out=False)
    line = None if spec is None else ledger.of(spec, not given.table)
    if line is None or "metrics" not in line:
        return None
    totals, metrics, parts = line["totals"], line["metrics"], line["rounds"] * 10
    return (
        f"| {method} | {lr:g} | {metrics['accuracy']:.4f} | {metrics['loss']:.4f} | "
        f"{totals['bytes_up'] / parts / 1e6:.3f} | {totals['bytes_down'] / parts / 1e6:.3f} | "
        f"{totals['peak_memory_bytes'] / 2**20:.0f} | {line['seconds']:.0f} |"
    )


def main() -> None:
    """Runs what is not finished and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sweep-rounds", type=int, default=3)
    parser.add_argument("--sweep-rows", type=int, default=8000)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--table", action="store_true", help="print what is finished, run nothing")
    given = parser.parse_args()
    ledger = Ledger(given.out)
    print("| method | lr | accuracy | loss | MB up | MB down | peak MiB | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for method in given.methods:
        line = row(method, ledger, given)
        print(line or f"| {method} | not finished | | | | | | |", flush=True)


if __name__ == "__main__":
    main()
