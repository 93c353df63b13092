"""Boolean masks kept as bits: an eighth of a bool tensor, a thirty-second of a float32 one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

# Bit 9 m is set for m = 0 .. 7. Eight bytes of 0 or 1, seen as one int64, times this: byte i times
# bit 9 (7 - i) gives bit 63 - i, so that the top byte holds the eight, the first one highest. A
# byte times this: its bit 7 - i gives bit 8 i + 7, the top bit of byte i. Nothing collides, and
# int64 products wrap.
_SPREAD = 0x8040201008040201 - 2**64
_LOWEST = 0x0101010101010101


def pack_bits(mask: Tensor) -> Tensor:
    """A bool tensor of any shape as ceil(n / 8) bytes (uint8), row-major."""
    flat = mask.reshape(-1)
    if flat.numel() % 8:
        flat = pad(flat, (0, -flat.numel() % 8))
    return ((flat.view(torch.int64) * _SPREAD) >> 56).to(torch.uint8)


def unpack_bits(bits: Tensor, shape: torch.Size) -> Tensor:
    """The bool tensor of `shape` that `pack_bits` packed."""
    words = ((bits.to(torch.int64) * _SPREAD) >> 7) & _LOWEST
    return words.view(torch.bool)[: shape.numel()].view(shape)
