"""A Linear layer trained in a random subspace: y = x W^T + b with W + B P, B = 0.

Notation: W (d_out, d_in), P (r, d_in), B (d_out, r), x (n, d_in), G = dL/dy (n, d_out).
The forward is one product with W. It keeps X P^T (n, r) instead of X (n, d_in): that is where the
activation memory goes. The backward gives dL/dB = G^T (X P^T) and dL/dX = G W; the dense gradient
G^T X never exists. (RSO, arXiv 2502.07222; FedKRSO, arXiv 2602.03019.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from fedkrso_core.ops.projection import projections


class _SubspaceProduct(torch.autograd.Function):
    """y = x W^T + b; differentiable in x, B and b, not in W."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, _b: Tensor, p: Tensor
    ) -> Tensor:
        ctx.save_for_backward(linear(x, p), weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        projected, weight = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grad_bias = flat.sum(0) if ctx.needs_input_grad[2] else None
        grad_b = flat.T @ projected.reshape(-1, projected.shape[-1])
        return grad_x, None, grad_bias, grad_b, None


class SubspaceLinear(nn.Module):
    """Stands in for a Linear while it is trained; writes into that Linear's own weight."""

    p: Tensor

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer, self.rank = layer, rank
        self.b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        self._applied = torch.zeros_like(self.b)

    def enter(self, p: Tensor) -> None:
        """Enters the subspace of P (r, d_in) with B = 0."""
        self.p = p
        self.b.data.zero_()
        self._applied.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        return _SubspaceProduct.apply(x, self.layer.weight, self.layer.bias, self.b, self.p)  # type: ignore[no-any-return, no-untyped-call]

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """W <- factor W and B <- factor B: weight decay of the whole weight."""
        for tensor in (self.layer.weight, self.b, self._applied):
            tensor.mul_(factor)

    @torch.no_grad()
    def write(self) -> None:
        """W <- W + (change of B since the last call) P, in place."""
        self.layer.weight.addmm_(self.b - self._applied, self.p)
        self._applied.copy_(self.b)


def draw(layers: Mapping[str, SubspaceLinear], seed: int) -> None:
    """Lets all layers enter their subspaces of `seed`."""
    sizes = {name: module.layer.in_features for name, module in layers.items()}
    first = next(iter(layers.values()))
    for name, p in projections(seed, sizes, first.rank, first.layer.weight.device).items():
        layers[name].enter(p)


@contextmanager
def subspace_layers(
    model: nn.Module, layers: Mapping[str, nn.Linear], rank: int
) -> Iterator[dict[str, SubspaceLinear]]:
    """Puts a SubspaceLinear in the place of each layer, and the layers back at the end."""
    wrapped = {name: SubspaceLinear(layer, rank) for name, layer in layers.items()}
    for name, module in wrapped.items():
        model.set_submodule(name, module)
    try:
        yield wrapped
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)
