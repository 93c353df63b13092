"""Dropout that keeps its mask as bits instead of a float32 (CPU) or a byte (CUDA) per element.

The same random numbers and the same arithmetic as torch.nn.functional.dropout, so that no number
of the training changes: y = x * n and dL/dx = dL/dy * n with n = m / (1 - p), m ~ Bernoulli(1 - p).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedkrso_core.lean.bits import pack_bits, unpack_bits
from fedkrso_core.lean.masks import draw


def scaled(mask: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """m / (1 - p), rounded as torch's own dropout on CPU rounds it."""
    return mask.to(dtype).div_(1 - p)


class _BitDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.p, ctx.shape = p, x.shape
        if x.device.type == "cpu":
            mask = torch.empty_like(x, dtype=torch.bool)
            bits = draw(mask, 1 - p)
            y = x * scaled(mask, p, x.dtype)
        else:
            y, mask = torch.native_dropout(x, p, True)
            bits = pack_bits(mask)
        ctx.save_for_backward(bits)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        mask = unpack_bits(ctx.saved_tensors[0], ctx.shape)
        if grad.device.type == "cpu":
            return grad * scaled(mask, ctx.p, grad.dtype), None
        scale = 1 / (1 - ctx.p)
        return torch.ops.aten.native_dropout_backward(grad, mask, scale), None


class BitDropout(nn.Module):
    """Stands in for nn.Dropout(p), 0 < p < 1."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape."""
        if not self.training:
            return x
        return _BitDropout.apply(x, self.p)  # type: ignore[no-any-return, no-untyped-call]
