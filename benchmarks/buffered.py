"""Synchronous and buffered rounds of the same job where one of four clients is five times slower.

    python benchmarks/buffered.py --out out/buffered [--seeds 0 1 2] [--methods fedkrso fedavg]

Both sides run in one process, in the virtual time of `fedkrso run`: a client's part takes 1.00,
1.05, 1.10 or 5.50 units. They send the same number of updates: with 4 clients at work, rounds of 4
updates against twice as many of 2. Prints a Markdown table of the means over the seeds.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import mean
from typing import Any

from fedkrso_core.simulate import run
from fedkrso_core.spec import EXAMPLE, JobSpec, parse
from fedkrso_core.virtual import VirtualRounds

UNITS = (1.0, 1.05, 1.1, 5.5)
UPDATES = 48
# the learning rates of docs/benchmarks.md, but for FedAvg, which has few steps here
RATES = {"fedkrso": 6e-4, "fedavg": 1e-4, "fedit": 2e-3, "ffa_lora": 6e-3}
BUFFERED = {"count": UPDATES // 2, "mode": "buffered", "buffer": 2}
SIDES: dict[str, dict[str, Any]] = {
    "sync": {"count": UPDATES // 4},
    "buffered, polynomial": BUFFERED,
    "buffered, constant": {**BUFFERED, "staleness": "constant"},
}


def job(method: str, side: str, seed: int) -> JobSpec:
    """One side's job."""
    changes = {
        "clients": {"count": 4, "per_round": 4},
        "rounds": SIDES[side],
        "evaluate": {"every": UPDATES},
        "local": {**EXAMPLE["local"], "steps": 10, "lr": RATES[method]},
        "method": EXAMPLE["method"] if method == "fedkrso" else {"name": method},
        "seed": seed,
    }
    return parse({**EXAMPLE, **changes})


def measure(method: str, side: str, seed: int, out: Path) -> dict[str, float]:
    """Rounds and updates per unit of time, staleness and accuracy of one run."""
    spec = job(method, side, seed)
    clock = VirtualRounds(spec, lambda client, _: UNITS[client])
    late: list[int] = []
    folder = out / f"{method}-{side.replace(', ', '-')}-{seed}"
    summary = run(spec, folder, lambda record: late.extend(record["staleness"]), clock=clock)
    assert len(late) == UPDATES
    return {
        "units": clock.now,
        "updates": UPDATES / clock.now,
        "rounds": summary["rounds"] / clock.now,
        "late": mean(late),
        "latest": max(late),
        "accuracy": summary["metrics"]["accuracy"],
        "loss": summary["metrics"]["loss"],
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["fedkrso", "fedavg"])
    args = parser.parse_args()
    os.environ.setdefault("FEDKRSO_THREADS", "1")
    print("| method | rounds | time | updates / time | rounds / time | late | accuracy | loss |")
    print("|---|---|---|---|---|---|---|---|")
    for method in args.methods:
        for side in SIDES:
            found = [measure(method, side, seed, args.out) for seed in args.seeds]
            one = {name: mean(run[name] for run in found) for name in found[0]}
            late = f"{one['late']:.2f}, at most {max(run['latest'] for run in found):.0f}"
            print(
                f"| {method} | {side} | {one['units']:.1f} | {one['updates']:.2f} | "
                f"{one['rounds']:.2f} | {late} | {one['accuracy']:.3f} | {one['loss']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
