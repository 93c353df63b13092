"""A layer trained in a random subspace: y = x W^T + b with W + B P.

Notation: W (d_out, d_in), P (r, d_in), B (d_out, r), x (n, d_in), G = dL/dy (n, d_out).
The forward is one product with W. It keeps X P^T (n, r) instead of X (n, d_in): that is where the
activation memory goes. The backward gives dL/dB = G^T (X P^T) and dL/dX = G W; the dense gradient
G^T X never exists. (RSO, arXiv 2502.07222; FedKRSO, arXiv 2602.03019.)

A float32 W takes each change of B in place. A bfloat16 W cannot: a change of 1e-5 is below half of
its last digit and would be lost. There B stays in float32 for the whole interval and is applied
freshly, y = x W^T + (x P^T) B^T and dL/dX = G W + (G B) P, and at the interval's end W + B P is
rounded once, up or down at random with the mean exact. B, X P^T and dL/dB are float32 at any
precision of the other products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from fedkrso_core.lean.precision import exact_products
from fedkrso_core.ops.layers import d_in_of, d_out_of, matrix_of
from fedkrso_core.ops.projection import Distribution, projections
from fedkrso_core.ops.rounding import round_to_bf16


class _SubspaceProduct(torch.autograd.Function):
    """y = x (W + B P)^T + b, B P already in W if `fresh` is false; differentiable in x, B and b."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, b: Tensor, p: Tensor, fresh: bool
    ) -> Tensor:
        y = linear(x, weight, bias)
        with exact_products(x.device):
            projected = _project(x, p)
            if fresh:
                y += linear(projected, b)
        ctx.save_for_backward(projected, weight, *((b, p) if fresh else ()))
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        projected, weight, *subspace = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        grad_x = grad @ weight.to(grad.dtype) if ctx.needs_input_grad[0] else None
        grad_bias = flat.sum(0, dtype=projected.dtype) if ctx.needs_input_grad[2] else None
        with exact_products(grad.device):
            grad_b = _gradient(flat, projected.reshape(-1, projected.shape[-1]))
            if subspace and grad_x is not None:
                b, p = subspace
                grad_x += (_project(flat, b.T) @ p).view_as(grad_x)
        return grad_x, None, grad_bias, grad_b, None, None


# rows of a bfloat16 tensor that are in float32 at a time: they stay in the cache of a core
_ROWS = 128


def _project(x: Tensor, p: Tensor) -> Tensor:
    """x P^T (..., r) in float32 for x (..., d_in), P (r, d_in)."""
    if x.dtype == p.dtype or x.device.type != "cpu":
        return linear(x.to(p.dtype), p)
    flat = x.reshape(-1, x.shape[-1])
    parts = [linear(rows.to(p.dtype), p) for rows in torch.split(flat, _ROWS)]
    return torch.cat(parts).view(*x.shape[:-1], len(p))


def _gradient(grad: Tensor, projected: Tensor) -> Tensor:
    """dL/dB = G^T Z (d_out, r) in float32 for G (n, d_out), Z (n, r).

    As (Z^T G)^T: with few columns on the right the product is up to 18x slower.
    """
    if grad.dtype == projected.dtype or grad.device.type != "cpu":
        return (projected.T @ grad.to(projected.dtype)).T
    total = projected.new_zeros(projected.shape[1], grad.shape[1])
    for z, rows in zip(torch.split(projected, _ROWS), torch.split(grad, _ROWS), strict=True):
        total.addmm_(z.T, rows.to(z.dtype))
    return total.T


class SubspaceLinear(nn.Module):
    """Stands in for a Linear or Conv1D while it is trained; writes into that layer's own weight."""

    p: Tensor

    def __init__(self, layer: nn.Module, rank: int) -> None:
        super().__init__()
        self.layer, self.rank = layer, rank
        weight = matrix_of(layer)
        self.fresh = weight.dtype == torch.bfloat16
        self.b = nn.Parameter(weight.new_zeros(d_out_of(layer), rank, dtype=torch.float32))
        self._applied = torch.zeros_like(self.b)

    def enter(self, p: Tensor) -> None:
        """Enters the subspace of P (r, d_in) with B = 0."""
        self.p = p
        self.b.data.zero_()
        self._applied.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        weight, bias = matrix_of(self.layer), self.layer.bias
        return _SubspaceProduct.apply(x, weight, bias, self.b, self.p, self.fresh)  # type: ignore[no-any-return, no-untyped-call]

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """W <- factor W and B <- factor B: weight decay of the whole weight."""
        for tensor in (matrix_of(self.layer), self.b, self._applied):
            tensor.mul_(factor)

    @torch.no_grad()
    def write(self) -> None:
        """W <- W + (change of B since the last call) P, in place; nothing for a bfloat16 W."""
        if self.fresh:
            return
        with exact_products(self.b.device):
            matrix_of(self.layer).addmm_(self.b - self._applied, self.p)
        self._applied.copy_(self.b)

    @torch.no_grad()
    def leave(self, seed: int) -> None:
        """Writes B P into a bfloat16 W, rounded at random; the end of this subspace."""
        if self.fresh:
            weight = matrix_of(self.layer)
            weight.copy_(round_to_bf16(torch.addmm(weight.float(), self.b, self.p), seed))


def draw(
    layers: Mapping[str, SubspaceLinear], seed: int, distribution: Distribution = "sign"
) -> None:
    """Lets all layers enter their subspaces of `seed`."""
    for name, p in projections_of(layers, seed, distribution).items():
        layers[name].enter(p)


def projections_of(
    layers: Mapping[str, SubspaceLinear], seed: int, distribution: Distribution
) -> dict[str, Tensor]:
    """P (r, d_in) of `seed` for each layer."""
    sizes = {name: d_in_of(module.layer) for name, module in layers.items()}
    first = next(iter(layers.values()))
    return projections(seed, sizes, first.rank, first.b.device, distribution=distribution)


@contextmanager
def subspace_layers(
    model: nn.Module, layers: Mapping[str, nn.Module], rank: int
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
