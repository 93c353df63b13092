"""Bytes that a client uploads in a round: RoBERTa-base, classifier included, by wire format.

    python benchmarks/wire.py [--model base|minilm|large]

The lengths of real encodings of uploads of the exact shapes that each method sends. Numbers are
normal; on them only zstd depends (wire_accuracy.py has it on trained ones). FedKRSO: K = 10
subspaces of rank 4, of which a client sends those that it used: the mean over its draws for 5 or 10
intervals, and all ten.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from training import SHAPES, encoder

from fedkrso_core.expect import Group
from fedkrso_core.method import Update, pack
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import Payload
from fedkrso_core.wire import compress
from fedkrso_core.wire_spec import WireDtype

K = 10
Compression = Literal["none", "zstd"]
WIRES: dict[str, tuple[WireDtype, Compression]] = {
    "fp32": ("fp32", "none"),
    "bf16": ("bf16", "none"),
    "int8": ("int8", "none"),
    "int8 + zstd": ("int8", "zstd"),
    "int4": ("int4", "none"),
    "int4 + zstd": ("int4", "zstd"),
}


def upload_bytes(groups: Iterable[Group], wire: str) -> int:
    """Length of the encoded upload that holds these groups."""
    draw = torch.Generator().manual_seed(0)
    tensors, scalars = {}, {}
    for group in groups:
        for name, (_, shape) in group.tensors.items():
            tensors[name] = torch.randn(shape, generator=draw)
        scalars |= group.scalars | dict.fromkeys(group.numbers, 1.0)
    dtype, compression = WIRES[wire]
    payload = compress(Payload(tensors, scalars), dtype)
    return len(pack(Update(payload, 1000, {"loss": 0.6931471824645996}), compression))


def method_bytes(model: nn.Module, name: str, options: dict[str, Any], wire: str) -> int:
    """Of a method whose uploads always look the same."""
    method = METHODS[name]
    config = method.Config(**options)
    expected = method.expect(config, model, method.init(config, model, 0))
    return upload_bytes([expected.required, *expected.optional.values()], wire)


def fedkrso_bytes(model: nn.Module, wire: str) -> list[int]:
    """By the number of seeds used, 0 to K."""
    method = METHODS["fedkrso"]
    config = method.Config(rank=4, seeds=K)
    expected = method.expect(config, model, method.init(config, model, 0))
    optional = list(expected.optional.values())
    return [upload_bytes([expected.required, *optional[:n]], wire) for n in range(K + 1)]


def distinct(intervals: int) -> list[float]:
    """Probability of 0 .. K different seeds in so many uniform draws."""
    chances = [1.0] + [0.0] * K
    for _ in range(intervals):
        chances = [
            chances[n] * n / K + (chances[n - 1] * (K - n + 1) / K if n else 0.0)
            for n in range(K + 1)
        ]
    return chances


def main() -> None:
    """Prints a Markdown table, MB of 10^6 bytes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=SHAPES, default="base")
    args = parser.parse_args()
    model = encoder(args.model, 0.0)
    rows: dict[str, float] = {
        "full (fedavg), fp32": method_bytes(model, "fedavg", {}, "fp32"),
        "LoRA r=4 (fedit), fp32": method_bytes(model, "fedit", {"rank": 4}, "fp32"),
        "LoRA r=4, A frozen (ffa_lora), fp32": method_bytes(model, "ffa_lora", {"rank": 4}, "fp32"),
        "LoRA r=20 (fedit), fp32": method_bytes(model, "fedit", {"rank": 20}, "fp32"),
        "LoRA r=4 (fedit), int4": method_bytes(model, "fedit", {"rank": 4}, "int4"),
    }
    for wire in WIRES:
        sizes = fedkrso_bytes(model, wire)
        for intervals in (5, 10):
            mean = math.fsum(c * s for c, s in zip(distinct(intervals), sizes, strict=True))
            rows[f"FedKRSO, used in {intervals} intervals, {wire}"] = mean
        rows[f"FedKRSO, all {K}, {wire}"] = sizes[K]
    full, lora = rows["full (fedavg), fp32"], rows["LoRA r=4 (fedit), fp32"]
    print(f"RoBERTa-{args.model}, K = {K}, r = 4, classifier included, per client and round\n")
    print("| side | MB up | / full | / LoRA r=4 |", "|---|---|---|---|", sep="\n")
    for name, size in rows.items():
        print(f"| {name} | {size / 1e6:.3f} | {size / full:.4f} | {size / lora:.3f} |", flush=True)


if __name__ == "__main__":
    main()
