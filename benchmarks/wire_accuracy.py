"""Accuracy and bytes of FedKRSO on SST-2 under each option of `wire`, beside float32.

    python benchmarks/wire_accuracy.py --out out/wire                # from the hub: glue/sst2
    python benchmarks/wire_accuracy.py --out out/wire --data FOLDER  # train/validation.jsonl.gz

MiniLM, 10 clients (Dirichlet 0.5). Runs with the same seed differ in nothing but the option: the
same clients, rows, subspaces and batches. zstd changes no number of a run (the digests of the
models are compared), so what it saves is told beside the same accuracy. Each run is `fedkrso run`
in a process of its own; a result that is already in the out folder is not run again. Prints a
Markdown table: means over the seeds, and the differences to float32 of each seed.
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

WIRES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8": {"dtype": "int8"},
    "int4": {"dtype": "int4"},
    "int8 + zstd": {"dtype": "int8", "compression": "zstd"},
    "int4, to the nearest": {"dtype": "int4", "error_feedback": False},
    "int8, to the nearest": {"dtype": "int8", "error_feedback": False},
    "bf16": {"dtype": "bf16"},
    "fp32 + zstd": {"compression": "zstd"},
}


def job(wire: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """The job file of one option."""
    source = dict.fromkeys(("train", "validation"), "hf:glue/sst2")
    if given.data is not None:
        source = {part: str(given.data / f"{part}.jsonl.gz") for part in source}
    return {
        "name": f"sst2 {wire}",
        "model": "minilm",
        "data": {**source, "text": "sentence", "label": "label"},
        "partition": {"kind": "dirichlet", "alpha": 0.5},
        "clients": {"count": 10, "per_round": given.per_round},
        "rounds": given.rounds,
        "local": {
            "steps": given.steps,
            "batch_size": 16,
            "max_length": given.max_length,
            "lr": given.lr,
            "head_lr": given.lr,
        },
        "method": {"name": given.method, **_options(given.method)},
        "wire": WIRES[wire],
        "evaluate": {"every": given.rounds},
        "seed": seed,
    }


def _options(method: str) -> dict[str, Any]:
    return {"rank": 4, "seeds": 10, "interval": 5} if method == "fedkrso" else {}


def run(wire: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One job's summary."""
    folder = given.out / f"{given.method}-{wire.replace(' ', '-').replace(',', '')}-{seed}"
    if not (folder / "summary.json").exists():
        file = given.out / f"{folder.name}.yaml"
        file.write_text(yaml.safe_dump(job(wire, seed, given)), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("fedkrso")), "run", str(file)]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def row(wire: str, found: list[dict[str, Any]], whole: list[dict[str, Any]]) -> str:
    """A line of the table; bytes are means for one client in one round."""
    parts = [s["rounds"] * s["spec"]["clients"]["per_round"] for s in found]
    up = mean(s["totals"]["bytes_up"] / n for s, n in zip(found, parts, strict=True))
    share = mean(
        s["totals"]["bytes_up"] / w["totals"]["bytes_up"] for s, w in zip(found, whole, strict=True)
    )
    points = [
        100 * (s["metrics"]["accuracy"] - w["metrics"]["accuracy"])
        for s, w in zip(found, whole, strict=True)
    ]
    return (
        f"| {wire} | {up / 1e3:.1f} | {share:.4f} | "
        f"{100 * mean(s['metrics']['accuracy'] for s in found):.2f} | "
        f"{mean(s['metrics']['loss'] for s in found):.4f} | "
        f"{', '.join(f'{p:+.2f}' for p in points)} | {mean(points):+.2f} |"
    )


def main() -> None:
    """Runs each option for each seed and prints the table as far as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--method", default="fedkrso")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--per-round", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--max-length", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--wires", nargs="+", choices=WIRES, default=list(WIRES))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print("| wire | kB up | / fp32 | accuracy, % | loss | difference by seed, points | mean |")
    print("|---|---|---|---|---|---|---|", flush=True)
    whole = [run("fp32", seed, given) for seed in given.seeds]
    for wire in given.wires:
        found = [run(wire, seed, given) for seed in given.seeds]
        if "zstd" in wire:
            plain = [run(wire.removesuffix(" + zstd"), seed, given) for seed in given.seeds]
            assert [s["model_sha256"] for s in found] == [s["model_sha256"] for s in plain]
        print(row(wire, found, whole), flush=True)


if __name__ == "__main__":
    main()
