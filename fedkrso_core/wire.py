"""Fewer bits for the numbers of a payload: codes and scales, whose form `wire_spec` says.

Rounding is to the nearest: |x - q scale| <= scale / 2; or, with a generator, to one of the two
neighbours with the probabilities that make E[q scale] = x (as in QSGD, arXiv 1610.02132).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedkrso_core.errors import PayloadError
from fedkrso_core.payload import Payload
from fedkrso_core.wire_spec import LARGEST, WireDtype, scales_of

Shapes = Mapping[str, tuple[int, ...]]
Draw = Callable[[str], np.random.Generator | None]


def compress(payload: Payload, dtype: WireDtype, draw: Draw = lambda _: None) -> Payload:
    """The payload with its float32 tensors as `dtype` and the scalar "wire"; all else as it is.

    `draw` gives the generator with which a tensor of that name is rounded; None: to the nearest.
    """
    if dtype == "fp32":
        return payload
    tensors = {
        name: coded(tensor.detach().cpu(), dtype, draw(name)) if _is_coded(tensor) else tensor
        for name, tensor in payload.tensors.items()
    }
    return replace(payload, tensors=tensors, scalars={**payload.scalars, "wire": dtype})


def restore(payload: Payload, dtype: WireDtype, shapes: Shapes) -> Payload:
    """The float32 payload of a compressed one, whose float32 tensors have these shapes.

    PayloadError for whatever `compress` does not make; nothing larger than the shapes is allocated.
    """
    if dtype == "fp32":
        return payload
    scalars = dict(payload.scalars)
    if scalars.pop("wire", None) != dtype:
        raise PayloadError(f"wire is {payload.scalars.get('wire')!r}; expected {dtype!r}")
    tensors = {
        name: decoded(name, tensor, dtype, shapes[name])
        if name in shapes and 0 not in shapes[name]
        else tensor
        for name, tensor in payload.tensors.items()
    }
    return Payload(tensors, scalars)


def _is_coded(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.numel() > 0


def coded(x: Tensor, dtype: WireDtype, rng: np.random.Generator | None = None) -> Tensor:
    """A float32 tensor as it travels."""
    if dtype == "bf16":
        return x.bfloat16()
    scale = _scale(x, LARGEST[dtype])
    q = torch.where(scale > 0, x / scale, 0.0)
    if rng is None:
        q = q.round()
    else:
        q = (q + torch.from_numpy(rng.random(tuple(q.shape), np.float32))).floor()
    codes = q.clamp(-LARGEST[dtype], LARGEST[dtype]).to(torch.int8).reshape(-1)
    codes = codes.view(torch.uint8) if dtype == "int8" else _pack(codes)
    return torch.cat([scale.reshape(-1).view(torch.uint8), codes])


def decoded(name: str, held: Tensor, dtype: WireDtype, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of `shape` of one that travelled; PayloadError if it is not one."""
    if dtype == "bf16":
        _require(name, held, torch.bfloat16, shape)
        return held.float()
    count, scales = math.prod(shape), 4 * scales_of(shape)
    _require(name, held, torch.uint8, (scales + (count if dtype == "int8" else -(-count // 2)),))
    scale = held[:scales].clone().view(torch.float32).view(_scale_shape(shape))
    codes = held[scales:].view(torch.int8) if dtype == "int8" else _unpack(held[scales:], count)
    return (codes.view(shape or (1,)).float() * scale).view(shape)


def _require(name: str, held: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if held.dtype != dtype or tuple(held.shape) != tuple(shape):
        raise PayloadError(
            f"tensor {name!r} is {held.dtype} {tuple(held.shape)}; expected {dtype} {shape}"
        )


def _scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """One that multiplies with the tensor's."""
    if len(shape) != 2:
        return (1,) * max(1, len(shape))
    return (1, shape[1]) if shape[0] >= shape[1] else (shape[0], 1)


def _scale(tensor: Tensor, largest: int) -> Tensor:
    if tensor.ndim != 2:
        return (tensor.abs().max() / largest).reshape(_scale_shape(tuple(tensor.shape)))
    longer = 0 if tensor.shape[0] >= tensor.shape[1] else 1
    return tensor.abs().amax(dim=longer, keepdim=True) / largest


def _pack(codes: Tensor) -> Tensor:
    """int8 codes in -7..7 as ceil(n / 2) bytes, the first of two in the low half."""
    flat = (codes + 8).to(torch.uint8)
    if flat.numel() % 2:
        flat = torch.nn.functional.pad(flat, (0, 1))
    return flat[0::2] | (flat[1::2] << 4)


def _unpack(packed: Tensor, count: int) -> Tensor:
    halves = torch.stack([packed & 0xF, packed >> 4], dim=1).reshape(-1)
    return halves[:count].to(torch.int8) - 8
