"""The loss of methods without gradients over many steps: SST-2, label-skewed clients.

    python benchmarks/zeroth_order.py --out out/zeroth [--data FOLDER]

The data are those of the hub (glue/sst2), or train.jsonl.gz and validation.jsonl.gz of a folder. A
step without a gradient tells one number, so that a few rounds show nothing. Each method runs as
`fedkrso run` in a process of its own. Prints a Markdown table; results already in the out folder
are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

# options, and the learning rate of the encoder and of the classifier
METHODS: dict[str, tuple[dict[str, Any], float, float]] = {
    "fedkseed": ({"seeds": 4096}, 2e-6, 1e-3),
    "fedkseed-pro": ({"seeds": 4096, "pro": True}, 2e-6, 1e-3),
}


def job(label: str, given: argparse.Namespace) -> dict[str, Any]:
    """The job file of one line of the table."""
    options, lr, head_lr = METHODS[label]
    source = {"train": "hf:glue/sst2", "validation": "hf:glue/sst2"}
    if given.data is not None:
        source = {part: str(given.data / f"{part}.jsonl.gz") for part in source}
    local = {"steps": given.steps, "batch_size": 16, "max_length": 64}
    return {
        "name": f"zeroth-{label}",
        "model": "minilm",
        "data": {**source, "text": "sentence", "label": "label"},
        "partition": {"kind": "dirichlet", "alpha": 0.5},
        "clients": {"count": 10, "per_round": given.per_round},
        "rounds": given.rounds,
        "local": {**local, "lr": given.lr or lr, "head_lr": given.head_lr or head_lr},
        "method": {"name": label.split("-")[0], **options},
        "evaluate": {"every": given.every},
        "seed": 0,
    }


def rounds_of(label: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs one line unless it is there; returns what each of its rounds was."""
    folder = given.out / label
    if not (folder / "summary.json").exists():
        given.out.mkdir(parents=True, exist_ok=True)
        file = given.out / f"{label}.yaml"
        file.write_text(yaml.safe_dump(job(label, given), sort_keys=False))
        command = [str(Path(sys.executable).with_name("fedkrso")), "run", str(file)]
        subprocess.run([*command, "--out", str(folder)], check=True)
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def row(label: str, given: argparse.Namespace) -> str:
    """A line of the table: losses at the evaluated rounds, and what a client sent and held."""
    rounds = rounds_of(label, given)
    losses = " ".join(f"{r['metrics']['loss']:.4f}" for r in rounds if r["metrics"])
    parts = len(rounds) * given.per_round
    sent = sum(r["bytes_up"] for r in rounds) / parts / 1e3
    peak = max(r["peak_memory_bytes"] for r in rounds) / 2**20
    accuracy = rounds[-1]["metrics"]["accuracy"]
    return f"| {label} | {losses} | {accuracy:.4f} | {sent:.1f} | {peak:.0f} |"


def main() -> None:
    """Runs the chosen methods and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--per-round", type=int, default=2)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--head-lr", type=float)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    rows = [row(label, given) for label in given.methods]
    print(
        "| method | validation loss over the rounds | accuracy | kB up | peak MiB |",
        "|---|---|---|---|---|",
        *rows,
        sep="\n",
    )


if __name__ == "__main__":
    main()
