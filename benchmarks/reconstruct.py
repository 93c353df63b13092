"""Rebuilding the weights from accumulators and seeds, and averaging a hundred clients.

    python benchmarks/reconstruct.py [--threads 1] [--models base large] [--repeats 10]

Reconstruction, K = 10, r = 4, beside a large float32 product on the same threads in the same run.
Interleaved, minimum of the repeats; CPU seconds with one thread, else seconds of the clock.
Aggregation: RoBERTa-base updates with all K subspaces, read from files as the coordinator does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from projection import RANK, fastest, roberta
from torch import Tensor

from fedkrso_core.memory import measured, tune_allocator
from fedkrso_core.method import Update, pack, unpack
from fedkrso_core.methods import fedkrso
from fedkrso_core.ops.projection import Distribution, Scratch, groups, stacked_projections
from fedkrso_core.ops.reconstruct import reconstruct
from fedkrso_core.payload import Payload

SEEDS = list(range(10))
SHAPES = {"base": (12, 768), "large": (24, 1024)}
LARGE = 2048
CLIENTS, FILES = 100, 4
RATE_BAR, RNG_BAR, MEMORY_BAR = 0.70, 0.25, 3.0


class Model:
    """Weights of a model's targeted layers, and accumulators of all K subspaces."""

    def __init__(self, name: str) -> None:
        self.name, shapes = name, roberta(*SHAPES[name])
        self.sizes = {layer: d_in for layer, (_, d_in) in shapes.items()}
        self.weights = {layer: torch.randn(shape) for layer, shape in shapes.items()}
        self.accumulated = {
            f"{k}/{layer}": torch.randn(d_out, RANK) * 1e-6
            for k in SEEDS
            for layer, (d_out, _) in shapes.items()
        }
        numbers = sum(weight.numel() for weight in self.weights.values())
        self.flops = 2.0 * numbers * len(SEEDS) * RANK

    def sides(self) -> dict[str, Callable[[], object]]:
        """What is timed; the first two have their factors ready."""
        stacked = stacked_projections(SEEDS, self.sizes, RANK, Scratch())
        joined = {name: self._joined(name) for name in self.sizes}
        return {
            "one product per layer, factors ready": lambda: [
                w.addmm_(joined[name], stacked[name]) for name, w in self.weights.items()
            ],
            "ten products per layer, factors ready": lambda: [
                w.addmm_(a, p)
                for name, w in self.weights.items()
                for a, p in zip(joined[name].split(RANK, 1), stacked[name].split(RANK), strict=True)
            ],
            "one product per layer, accumulators joined": lambda: [
                w.addmm_(self._joined(name), stacked[name]) for name, w in self.weights.items()
            ],
            "the draws alone, sign": lambda: self._draws("sign"),
            "the draws alone, gaussian": lambda: self._draws("gaussian"),
            "reconstruct, sign": lambda: self._reconstruct("sign"),
            "reconstruct, gaussian": lambda: self._reconstruct("gaussian"),
            "reconstruct, sign, with decay": lambda: self._reconstruct("sign", 0.9999),
            "read and write every weight": lambda: [w.neg_() for w in self.weights.values()],
        }

    def _joined(self, name: str) -> Tensor:
        return torch.cat([self.accumulated[f"{k}/{name}"] for k in SEEDS], dim=1)

    def _draws(self, distribution: Distribution) -> None:
        scratch = Scratch()
        for group in groups(self.sizes, len(SEEDS) * RANK):
            stacked_projections(SEEDS, group, RANK, scratch, distribution=distribution)

    def _reconstruct(self, distribution: Distribution, decay: float = 1.0) -> None:
        reconstruct(
            self.weights, self.accumulated, SEEDS, RANK, decay=decay, distribution=distribution
        )


def report_reconstruction(model: Model, repeats: int) -> None:
    """The table of a model: milliseconds, GFLOP/s, and the share of the large product's rate."""
    x, y = torch.randn(LARGE, LARGE), torch.randn(LARGE, LARGE)
    large = f"product of {LARGE} x {LARGE} matrices"
    best = fastest({large: lambda: x @ y, **model.sides()}, repeats)
    rate = 2.0 * LARGE**3 / best[large]
    print(
        f"\nRoBERTa-{model.name}, {model.flops / 1e9:.1f} GFLOP, threads {torch.get_num_threads()}",
        "",
        "| side | ms | GFLOP/s | share of the large product's rate |",
        "|---|---|---|---|",
        f"| {large} | {best[large] * 1e3:.1f} | {rate / 1e9:.1f} | 1.00 |",
        sep="\n",
    )
    for name in model.sides():
        seconds = best[name]
        row = f"| {name} | {seconds * 1e3:.1f} |"
        if name.startswith(("the draws", "read")):
            print(f"{row} - | - |")
        else:
            reached = model.flops / seconds
            print(f"{row} {reached / 1e9:.1f} | {reached / rate:.2f} |")
    print()
    product = best["one product per layer, factors ready"]
    for distribution in ("sign", "gaussian"):
        share = model.flops / best[f"reconstruct, {distribution}"] / rate
        added = best[f"the draws alone, {distribution}"] / product
        _bar(f"{distribution}: rate with everything", share, share >= RATE_BAR, f">= {RATE_BAR}")
        _bar(f"{distribution}: draws / products", added, added <= RNG_BAR, f"<= {RNG_BAR}")


def report_aggregation() -> None:
    """Seconds and peak memory of the mean of CLIENTS updates."""
    state = Payload(scalars={"seed": 0, "round": 0, "next": SEEDS})
    config = fedkrso.Config(rank=RANK, seeds=len(SEEDS))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"update-{i}" for i in range(FILES)]
        for path in paths:
            path.write_bytes(pack(_update()))
        size = paths[0].stat().st_size
        fedkrso.aggregate(config, state, [unpack(paths[0].read_bytes())])  # what loads once
        before = _resident()
        start = time.perf_counter()
        with measured(torch.device("cpu")) as peak:
            fedkrso.aggregate(config, state, _stream(paths))
        seconds = time.perf_counter() - start
    held = (peak.bytes - before) / size
    print(
        f"\nAggregation: {CLIENTS} updates of {size / 1e6:.2f} MB, "
        f"threads {torch.get_num_threads()}: {seconds:.2f} s\n"
    )
    _bar("peak memory / one update", held, held <= MEMORY_BAR * 1.05, f"<= {MEMORY_BAR} (and 5 %)")


def _update() -> Update:
    """All K subspaces of RoBERTa-base, and its classifier."""
    tensors = {
        f"A/{k}/{layer}": torch.randn(d_out, RANK)
        for k in SEEDS
        for layer, (d_out, _) in roberta(*SHAPES["base"]).items()
    }
    tensors["dense/dense.weight"] = torch.randn(768, 768)
    tensors["dense/out_proj.weight"] = torch.randn(2, 768)
    return Update(Payload(tensors, {"decay": 1.0}), 100, {"loss": 1.0})


def _stream(paths: list[Path]) -> Iterator[Update]:
    """As the coordinator reads them: one at a time, in the order of the clients."""
    return (unpack(paths[i % FILES].read_bytes()) for i in range(CLIENTS))


def _resident() -> int:
    """Bytes of memory that the process holds now."""
    with measured(torch.device("cpu")) as peak:
        pass
    return peak.bytes


def _bar(what: str, value: float, holds: bool, bar: str) -> None:
    print(f"{'ok  ' if holds else 'MISS'} {what}: {value:.2f} (bar {bar})")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tune_allocator()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, K = {len(SEEDS)}, rank {RANK}, float32")
    report_aggregation()
    for name in options.models:
        report_reconstruction(Model(name), options.repeats)


if __name__ == "__main__":
    main()
