"""A tensor's change in fewer bytes, or without a loss: x_then -> what is sent -> x.

| precision | what is sent of each number | bytes | x |
|---|---|---|---|
| exact | o(x) - o(x_then) modulo 2^32, o the place of a float32 among all in order | 4 | itself |
| bf16 | x - x_then, rounded to bfloat16 | 2 | x_then + what was sent |
| int8 | round((x - x_then) / scale) | 1 | x_then + what was sent times the scale |

The scale of int8 is max |x - x_then| / 127, 4 bytes for each tensor.

o(x) = b XOR ((b >> 31) AND 0x7FFFFFFF) with b the bits of x as a signed number: in two's complement
the floats are then in order, so that a small change is a small number, and o is its own inverse. A
float32 difference would not do: x_then + (x - x_then) is x only where neither rounds.

With a density below 1 only the ceil(density n) numbers that changed most are sent, and where they
are, 4 bytes for each; the rest of the tensor counts as unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["exact", "bf16", "int8"]
Shapes = dict[str, tuple[str, tuple[int, ...]]]

_DTYPES = {"exact": "I32", "bf16": "BF16", "int8": "I8"}
_LARGEST = 127


def ordered(x: Tensor) -> Tensor:
    """o of float32 values, int32."""
    return _flipped(x.contiguous().view(torch.int32))


def _flipped(bits: Tensor) -> Tensor:
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def kept(count: int, density: float) -> int:
    """How many of a tensor's numbers are sent."""
    return max(1, math.ceil(density * count))


def shapes(name: str, shape: tuple[int, ...], precision: Precision, density: float) -> Shapes:
    """What `change` makes of a tensor, as `Expected` writes it."""
    made: Shapes = {}
    if density < 1:
        shape = (kept(math.prod(shape), density),)
        made[f"index/{name}"] = ("I32", shape)
    if precision == "int8":
        made[f"scale/{name}"] = ("F32", ())
    return {**made, f"delta/{name}": (_DTYPES[precision], shape)}


def change(
    name: str, x: Tensor, then: Tensor, precision: Precision, density: float
) -> dict[str, Tensor]:
    """What is sent of x, float32, that was `then`."""
    made = {}
    if density < 1:
        moved = (x - then).abs().view(-1)
        index = moved.topk(kept(len(moved), density)).indices.sort().values
        x, then = x.reshape(-1)[index], then.reshape(-1)[index]
        made[f"index/{name}"] = index.to(torch.int32)
    if precision == "exact":
        return {**made, f"delta/{name}": ordered(x) - ordered(then)}
    difference = x - then
    if precision == "bf16":
        return {**made, f"delta/{name}": difference.bfloat16()}
    scale = difference.abs().max() / _LARGEST
    codes = torch.where(scale > 0, difference / scale, 0.0).round().to(torch.int8)
    return {**made, f"scale/{name}": scale, f"delta/{name}": codes}


def changed(name: str, sent: Mapping[str, Tensor], then: Tensor) -> Tensor:
    """x of what was sent; numbers that a client made infinite or NaN count as unchanged."""
    index = sent.get(f"index/{name}")
    if index is None:
        return _moved(then, sent[f"delta/{name}"], sent.get(f"scale/{name}"))
    flat = then.reshape(-1).clone()
    # a place that does not exist must not end everybody's round
    index = index.long().clamp(0, len(flat) - 1)
    flat[index] = _moved(flat[index], sent[f"delta/{name}"], sent.get(f"scale/{name}"))
    return flat.view(then.shape)


def _moved(then: Tensor, delta: Tensor, scale: Tensor | None) -> Tensor:
    if delta.dtype == torch.int32:
        x = _flipped(ordered(then) + delta).view(torch.float32)
    else:
        x = then + (delta.float() if scale is None else delta.float() * scale)
    return torch.where(x.isfinite(), x, then)
