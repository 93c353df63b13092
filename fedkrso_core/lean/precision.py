"""Arithmetic of the products in a training step: float32, faster float32, or bfloat16.

fp32     products in float32, reproducible
medium   inputs of a float32 product may be rounded to bfloat16 (CPU) or TF32 (CUDA) parts;
         attention stays in full float32 on CPU (see `lean.attention`)
bf16     autocast: products take and give bfloat16, accumulate in float32

What must not lose small numbers runs in `exact_products`: low-rank products, writes into W.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedkrso_core.spec import Precision


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Float32 products inside the block, of forward and backward pass, at a precision."""
    with _matmul_precision("medium" if precision == "medium" else "highest"):
        yield


def forward_products(precision: Precision, device: torch.device) -> torch.autocast:
    """For the forward pass alone: the backward pass follows the types that it finds."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Float32 products at full precision, whatever the setting around them."""
    with _matmul_precision("highest"), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def _matmul_precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    if before == name:  # setting it costs more than asking
        yield
        return
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
