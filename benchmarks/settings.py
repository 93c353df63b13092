"""Accuracy, time and memory of FedKRSO under each setting of `local.precision` and `local.memory`.

    python benchmarks/settings.py --out out/settings [--seeds 0 1]

The demo job (MiniLM, pydocs, 8 clients, 6 rounds), changed in nothing but the setting; each run is
`fedkrso run` in a process of its own. A result that is already in the out folder is not run again.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from fedkrso_core.spec import EXACT_MEMORY, EXAMPLE

DEFAULT = list(EXACT_MEMORY)
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "precision: medium": {"precision": "medium"},
    "precision: bf16": {"precision": "bf16"},
    "memory: none": {"memory": []},
    "memory: default + gelu-8bit": {"memory": [*DEFAULT, "gelu-8bit"]},
    "memory: default + bf16-weights": {"memory": [*DEFAULT, "bf16-weights"]},
    "memory: default + fused-cross-entropy": {"memory": [*DEFAULT, "fused-cross-entropy"]},
}


def run(setting: str, seed: int, out: Path) -> dict[str, Any]:
    """One job's summary."""
    folder = out / f"{setting.replace(': ', '-').replace(' + ', '-')}-{seed}"
    if not (folder / "summary.json").exists():
        local = {**EXAMPLE["local"], **SETTINGS[setting]}
        job = out / f"{folder.name}.yaml"
        job.write_text(yaml.safe_dump({**EXAMPLE, "local": local, "seed": seed}), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("fedkrso")), "run", str(job)]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def main() -> None:
    """Prints the table; digests tell which settings gave the very same model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    steps = EXAMPLE["rounds"] * EXAMPLE["clients"]["per_round"] * EXAMPLE["local"]["steps"]
    print("| setting | accuracy | loss | s per step | peak MiB | model |")
    print("|---|---|---|---|---|---|")
    for setting in SETTINGS:
        found = [run(setting, seed, args.out) for seed in args.seeds]
        accuracy = mean(one["metrics"]["accuracy"] for one in found)
        loss = mean(one["metrics"]["loss"] for one in found)
        seconds = mean(one["totals"]["seconds"]["train"] for one in found) / steps
        peak = max(one["totals"]["peak_memory_bytes"] for one in found) / 2**20
        row = f"{accuracy:.4f} | {loss:.4f} | {seconds:.3f} | {peak:.0f}"
        print(f"| {setting} | {row} | {found[0]['model_sha256'][:8]} |", flush=True)


if __name__ == "__main__":
    main()
