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

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from fedkrso_core.payload import Payload

WireDtype = Literal["fp32", "bf16", "int8", "int4"]
_LARGEST = {"int8": 127, "int4": 7}
_SCALE = "/scale"


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
    """The float32 payload of a compressed one; one that is not compressed stays as it is."""
    if "wire" not in payload.scalars:
        return payload
    scalars = dict(payload.scalars)
    wire = scalars.pop("wire")
    tensors = dict(payload.tensors)
    for name, shape in wire["shapes"].items():
        codes = tensors[name]
        if wire["dtype"] == "bf16":
            tensors[name] = codes.float()
            continue
        if wire["dtype"] == "int4":
            codes = _unpack(codes, torch.Size(shape))
        tensors[name] = (codes.float() * tensors.pop(name + _SCALE)).view(shape)
    return Payload(tensors, scalars)


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
