"""Time to draw all projections of RoBERTa-base, beside torch.randn of as many numbers.

    python benchmarks/projection.py [--threads 1] [--seeds 1]

Both distributions, by torch and by numpy, and the checksum. Interleaved, minimum of the repeats;
CPU seconds with one thread, else seconds of the clock. Bar: at most twice torch.randn per number.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import get_args

import torch

from fedkrso_core.memory import tune_allocator
from fedkrso_core.ops import projection_numpy
from fedkrso_core.ops.projection import (
    Distribution,
    Scratch,
    groups,
    projection,
    projections,
    stacked_projections,
)

RANK = 4
BAR = 2.0


def roberta(blocks: int, width: int) -> dict[str, tuple[int, int]]:
    """(d_out, d_in) of each targeted Linear: query, key, value, attention output, the MLP's two."""
    kinds = dict.fromkeys(("query", "key", "value", "attention"), (width, width))
    kinds |= {"up": (4 * width, width), "down": (width, 4 * width)}
    return {f"layer.{i}.{kind}": shape for i in range(blocks) for kind, shape in kinds.items()}


def fastest(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Minimum seconds of each side, one of each in turn."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats):
        for name, call in sides.items():
            start = clock()
            call()
            best[name] = min(best[name], clock() - start)
    return best


def sides_of(
    distribution: Distribution, layers: dict[str, int], seeds: list[int]
) -> dict[str, Callable[[], object]]:
    """What is timed for a distribution; all draw the same numbers."""

    def in_groups() -> object:
        return [projections(seed, layers, RANK, distribution=distribution) for seed in seeds]

    def stacked() -> object:
        scratch = Scratch()
        for group in groups(layers, len(seeds) * RANK):
            stacked_projections(seeds, group, RANK, scratch, distribution=distribution)
        return None

    def call_per_layer() -> object:
        return [
            projection(seed, name, RANK, d_in, distribution=distribution)
            for seed in seeds
            for name, d_in in layers.items()
        ]

    def numpy_per_layer() -> object:
        return [
            projection_numpy.projection(seed, name, RANK, d_in, distribution=distribution)
            for seed in seeds
            for name, d_in in layers.items()
        ]

    def checksums() -> object:
        return [projection_numpy.checksum(seed, layers, RANK, distribution) for seed in seeds]

    return {
        f"{distribution}, torch, all layers of a seed": in_groups,
        f"{distribution}, torch, all seeds of a group of layers": stacked,
        f"{distribution}, torch, a call per layer": call_per_layer,
        f"{distribution}, numpy, a call per layer": numpy_per_layer,
        f"{distribution}, numpy, the checksum": checksums,
    }


def main() -> None:
    """Prints milliseconds, nanoseconds per number and the ratio to torch.randn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--seeds", type=int, default=1, help="seeds that are drawn at once")
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tune_allocator()  # as the processes of the service do
    layers = {name: d_in for name, (_, d_in) in roberta(12, 768).items()}
    count = options.seeds * RANK * sum(layers.values())
    sides: dict[str, Callable[[], object]] = {"torch.randn": lambda: torch.randn(count)}
    for distribution in get_args(Distribution):
        sides |= sides_of(distribution, layers, list(range(options.seeds)))
    best = fastest(sides, options.repeats)
    print(
        f"RoBERTa-base, {count} numbers, rank {RANK}, seeds {options.seeds}, "
        f"threads {options.threads}, torch {torch.__version__}; bar {BAR}",
        "",
        "| side | ms | ns per number | ratio |",
        "|---|---|---|---|",
        sep="\n",
    )
    for name, seconds in best.items():
        ratio = seconds / best["torch.randn"]
        print(f"| {name} | {seconds * 1e3:.2f} | {seconds / count * 1e9:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
