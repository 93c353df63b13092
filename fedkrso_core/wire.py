"""What may be done to a payload on its way: fewer bits for each number, with scales.

dtype   what travels for a float32 tensor                          bits per number
fp32    itself                                                     32
bf16    rounded to bfloat16                                        16
int8    q in -127..127 and scales; x is about q * scale            8
int4    q in -7..7, two to a byte, and scales                      4

A matrix (m, n) has one float32 scale for each index of its shorter side, max |x| / 127 (or / 7)
along the longer one: for an accumulator (d_out, r) that is r scales, next to nothing. Any other
tensor has one scale. Rounding is to nearest: |error| <= scale / 2.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from fedkrso_core.errors import PayloadError
from fedkrso_core.payload import Payload

WireDtype = Literal["fp32", "bf16", "int8", "int4"]
_LARGEST = {"int8": 127, "int4": 7}
_CODES = {"bf16": torch.bfloat16, "int8": torch.int8, "int4": torch.uint8}
_SCALE = "/scale"
_MOST_DIMENSIONS, _LARGEST_SIZE = 64, 2**40


def compress(payload: Payload, dtype: WireDtype) -> Payload:
    """The payload with its float32 tensors as `dtype`; everything else as it is."""
    if dtype == "fp32":
        return payload
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in payload.tensors.items():
        if tensor.dtype != torch.float32 or tensor.numel() == 0:
            tensors[name] = tensor
            continue
        if name + _SCALE in payload.tensors:
            raise PayloadError(f"tensor {name + _SCALE!r} has the name of the scale of {name!r}")
        shapes[name] = list(tensor.shape)
        if dtype == "bf16":
            tensors[name] = tensor.bfloat16()
            continue
        scale = _scale(tensor, _LARGEST[dtype])
        codes = torch.where(scale > 0, tensor / scale, 0.0).round().to(torch.int8)
        tensors[name] = codes if dtype == "int8" else _pack(codes)
        tensors[name + _SCALE] = scale
    wire = {"dtype": dtype, "shapes": shapes}
    return replace(payload, tensors=tensors, scalars={**payload.scalars, "wire": wire})


def restore(payload: Payload) -> Payload:
    """The float32 payload of a compressed one; one that is not compressed stays as it is.

    PayloadError for whatever `compress` does not make; nothing larger than that is allocated.
    """
    if "wire" not in payload.scalars:
        return payload
    scalars = dict(payload.scalars)
    dtype, shapes = _form(scalars.pop("wire"))
    tensors = dict(payload.tensors)
    for name, shape in shapes.items():
        scale = None if dtype == "bf16" else tensors.pop(name + _SCALE, None)
        tensors[name] = _restored(name, tensors.get(name), scale, dtype, shape)
    return Payload(tensors, scalars)


def _form(wire: Any) -> tuple[str, dict[str, torch.Size]]:
    """The dtype and the shapes of what was compressed."""
    if not isinstance(wire, dict) or set(wire) != {"dtype", "shapes"}:
        raise PayloadError(f"wire is {wire!r}; allowed: an object with dtype and shapes")
    dtype, shapes = wire["dtype"], wire["shapes"]
    if not isinstance(dtype, str) or dtype not in _CODES:
        raise PayloadError(f"wire dtype is {dtype!r}; allowed: {', '.join(_CODES)}")
    if not isinstance(shapes, dict) or not all(map(_is_shape, shapes.values())):
        raise PayloadError(f"wire shapes are {shapes!r}; allowed: lists of whole numbers from 1")
    return dtype, {name: torch.Size(shape) for name, shape in shapes.items()}


def _is_shape(shape: Any) -> bool:
    sizes = shape if isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS else [None]
    return all(type(size) is int and 0 < size <= _LARGEST_SIZE for size in sizes)


def _restored(
    name: str, codes: Tensor | None, scale: Tensor | None, dtype: str, shape: torch.Size
) -> Tensor:
    """One tensor, float32 of `shape`, if its codes and its scale are of the right form."""
    count = math.prod(shape)
    held = (_CODES[dtype], -(-count // 2) if dtype == "int4" else count)
    if codes is None or (codes.dtype, codes.numel()) != held:
        raise PayloadError(f"tensor {name!r} lacks its {held[1]} codes of type {held[0]}")
    if dtype == "bf16":
        return codes.float().view(shape)
    expected = _scale_shape(shape)
    if scale is None or (scale.dtype, tuple(scale.shape)) != (torch.float32, expected):
        raise PayloadError(f"tensor {name!r} lacks its scale, float32 of shape {expected}")
    values = _unpack(codes, shape) if dtype == "int4" else codes.view(shape)
    return (values.float() * scale).view(shape)


def _scale_shape(shape: torch.Size) -> tuple[int, ...]:
    if len(shape) != 2:
        return (1,) * max(1, len(shape))
    return (1, shape[1]) if shape[0] >= shape[1] else (shape[0], 1)


def _scale(tensor: Tensor, largest: int) -> Tensor:
    """float32, of a shape that multiplies with the tensor's."""
    if tensor.ndim != 2:
        return (tensor.abs().max() / largest).reshape((1,) * max(1, tensor.ndim))
    longer = 0 if tensor.shape[0] >= tensor.shape[1] else 1
    return tensor.abs().amax(dim=longer, keepdim=True) / largest


def _pack(codes: Tensor) -> Tensor:
    """int8 codes in -7..7 of any shape as ceil(n / 2) bytes, the first of two in the low half."""
    flat = (codes.reshape(-1) + 8).to(torch.uint8)
    if flat.numel() % 2:
        flat = torch.nn.functional.pad(flat, (0, 1))
    return flat[0::2] | (flat[1::2] << 4)


def _unpack(packed: Tensor, shape: torch.Size) -> Tensor:
    halves = torch.stack([packed & 0xF, packed >> 4], dim=1).reshape(-1)
    return (halves[: shape.numel()].to(torch.int8) - 8).view(shape)
