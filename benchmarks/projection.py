"""Time to draw all projections of RoBERTa-base, beside torch.randn of as many numbers.

    python benchmarks/projection.py

One thread, CPU seconds (process time), interleaved, minimum of the repeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from fedkrso_core.ops.projection import projection, projections

REPEATS = 40
RANK = 4


def roberta_base() -> dict[str, int]:
    """d_in of each targeted Linear: query, key, value, attention output, both of the MLP."""
    kinds = {"query": 768, "key": 768, "value": 768, "attention": 768, "up": 768, "down": 3072}
    return {f"layer.{i}.{kind}": d_in for i in range(12) for kind, d_in in kinds.items()}


def fastest(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Minimum CPU seconds of each side, one of each in turn."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(REPEATS):
        for name, call in sides.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    """Prints milliseconds and the ratio to torch.randn."""
    torch.set_num_threads(1)
    layers = roberta_base()
    count = RANK * sum(layers.values())
    best = fastest(
        {
            "torch.randn": lambda: torch.randn(count),
            "signs, one flat pass": lambda: projections(1, layers, RANK),
            "signs, a call per layer": lambda: [
                projection(1, name, RANK, d_in) for name, d_in in layers.items()
            ],
        }
    )
    print(
        f"{count} numbers, one seed, rank {RANK}",
        "| side | ms | ratio |",
        "|---|---|---|",
        sep="\n",
    )
    for name, seconds in best.items():
        print(f"| {name} | {seconds * 1e3:.2f} | {seconds / best['torch.randn']:.2f} |")


if __name__ == "__main__":
    main()
