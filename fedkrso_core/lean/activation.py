"""An activation that keeps its derivative in 8 bit instead of its input in 32.

y = f(x) is exact; dL/dx = dL/dy * q with q = f'(x) rounded to steps of 1/202. The derivatives of
GELU and SiLU lie in (-0.13, 1.13); 0 and 1, which most elements are close to, are among the steps.
The error of a derivative is at most 0.0025 (0.0004 at the lower end, which is cut at -26/202).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_STEPS, _ZERO = 202, 26


class _ByteDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: nn.Module) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = activation(leaf)
        (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
        slope = slope.float() if slope.dtype != torch.float32 else slope
        level = slope.mul_(_STEPS).add_(_ZERO).round_().clamp_(0, 255)
        ctx.save_for_backward(level.to(torch.uint8))
        return y.detach()  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (level,) = ctx.saved_tensors
        return level.to(grad.dtype).sub_(_ZERO).mul_(1 / _STEPS).mul_(grad), None


class ByteActivation(nn.Module):
    """Stands in for an elementwise activation whose derivative lies in (-0.13, 1.13)."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape."""
        if not (self.training and torch.is_grad_enabled() and x.requires_grad):
            return self.activation(x)  # type: ignore[no-any-return]
        return _ByteDerivative.apply(x, self.activation)  # type: ignore[no-any-return, no-untyped-call]


def is_activation(module: nn.Module) -> bool:
    """Whether a module is GELU or SiLU in one of the forms that models use."""
    name = type(module).__name__.lower().removesuffix("activation")
    return not list(module.children()) and name in _KNOWN


_KNOWN = {"gelu", "newgelu", "gelutanh", "fastgelu", "quickgelu", "accurategelu", "silu"}
