"""Accuracy, bytes and memory of the methods side by side on SST-2 with label-skewed clients.

    python benchmarks/sst2.py --out out/sst2                      # data from the hub: glue/sst2
    python benchmarks/sst2.py --out out/sst2 --data FOLDER        # train/validation.jsonl.gz there

Each method runs as `fedkrso run` in a process of its own, so that no method's memory counts for
another. Learning rates, one for each method, come from an earlier sweep on SST-2; everything else
is equal. Prints a Markdown table; results already in the out folder are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "fedkrso": ({"rank": 4, "seeds": 10, "interval": 10}, 6e-4),
    "fedavg": ({}, 1e-4),
    "fedit": ({"rank": 4, "alpha": 8}, 2e-3),
    "ffa_lora": ({"rank": 4, "alpha": 8}, 6e-3),
}


def job(method: str, data: Path | None, rounds: int) -> dict[str, Any]:
    """The job file of one method."""
    options, lr = METHODS[method]
    source = {"train": "hf:glue/sst2", "validation": "hf:glue/sst2"}
    if data is not None:
        source = {part: str(data / f"{part}.jsonl.gz") for part in source}
    return {
        "name": f"sst2-{method}",
        "model": "minilm",
        "data": {**source, "text": "sentence", "label": "label"},
        "partition": {"kind": "dirichlet", "alpha": 0.5},
        "clients": {"count": 10, "per_round": 10},
        "rounds": rounds,
        "local": {"steps": 20, "batch_size": 16, "max_length": 64, "lr": lr, "head_lr": 1e-3},
        "method": {"name": method, **options},
        "seed": 0,
    }


def run(method: str, out: Path, data: Path | None, rounds: int) -> dict[str, Any]:
    """Runs one method unless its summary is there; returns the summary."""
    folder = out / method
    if not (folder / "summary.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"{method}.yaml"
        file.write_text(yaml.safe_dump(job(method, data, rounds), sort_keys=False))
        command = [str(Path(sys.executable).with_name("fedkrso")), "run", str(file)]
        subprocess.run([*command, "--out", str(folder)], check=True)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def row(method: str, summary: dict[str, Any]) -> str:
    """A line of the table; bytes are means for one client in one round."""
    totals, spec = summary["totals"], summary["spec"]
    parts = summary["rounds"] * spec["clients"]["per_round"]
    metrics = summary["metrics"]
    return (
        f"| {method} | {spec['local']['lr']:g} | {metrics['accuracy']:.4f} | "
        f"{metrics['loss']:.4f} | {metrics['mcc']:.4f} | {totals['bytes_up'] / parts / 1e6:.2f} | "
        f"{totals['bytes_down'] / parts / 1e6:.2f} | {totals['peak_memory_bytes'] / 2**20:.0f} |"
    )


def main() -> None:
    """Runs the chosen methods and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    rows = [row(m, run(m, given.out, given.data, given.rounds)) for m in given.methods]
    print(
        "| method | lr | accuracy | loss | mcc | MB up | MB down | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        sep="\n",
    )


if __name__ == "__main__":
    main()
