"""Layers y = x W^T + b + s ((x A^T) R^T) B^T of which only the small R is trained (Fed-SB).

Notation: W (d_out, d_in), A (r, d_in) and B (d_out, r) frozen, R (r, r).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fedkrso_core.ops.layers import matrix_of
from fedkrso_core.seeds import generator

_ITERATIONS = 4  # of the power iteration; the directions need not be exact, only the same for all


@torch.no_grad()
def frozen_factors(
    weight: Tensor, rank: int, basis: Literal["weights", "random"], seed: int, layer: str
) -> tuple[Tensor, Tensor]:
    """B (d_out, rank) with orthonormal columns and A (rank, d_in) with orthonormal rows.

    "weights": close to the main singular directions of `weight` (d_out, d_in); "random": drawn.
    Both start from numbers of (seed, layer), in float64.
    """
    d_out, d_in = weight.shape
    drawn = generator(seed, "core", layer)
    left, right = (
        torch.from_numpy(drawn.standard_normal((d, rank))).to(weight.device) for d in (d_out, d_in)
    )
    if basis == "weights":
        w = weight.detach().double()
        for _ in range(_ITERATIONS):
            left = torch.linalg.qr(w @ right)[0]
            right = torch.linalg.qr(w.T @ left)[0]
    b, a = _orthonormal(left), _orthonormal(right).T
    return b.float(), a.float().contiguous()


def _orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of the columns, whose signs give the other factor a positive diagonal.

    QR is unique up to these signs, which libraries choose differently.
    """
    q, r = torch.linalg.qr(columns)
    return torch.where(r.diagonal() < 0, -q, q)


class _CoreLinear(nn.Module):
    """Stands in for a layer while R is trained."""

    def __init__(self, layer: nn.Module, b: Tensor, a: Tensor, core: Tensor, scale: float) -> None:
        super().__init__()
        device = matrix_of(layer).device
        self.layer, self.scale = layer, scale
        self.b, self.a = b.to(device), a.to(device)
        self.core = nn.Parameter(core.detach().clone().to(device))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y = self.layer(x)
        inner = linear(linear(x.to(self.core.dtype), self.a), self.core)
        return y + (linear(inner, self.b) * self.scale).to(y.dtype)  # type: ignore[no-any-return]


@contextmanager
def core_layers(
    model: nn.Module,
    factors: Mapping[str, tuple[Tensor, Tensor]],
    cores: Mapping[str, Tensor],
    scale: float,
) -> Iterator[dict[str, nn.Parameter]]:
    """Puts a trainable R between (B, A) of each named layer; the layers come back at the end."""
    layers = {name: model.get_submodule(name) for name in factors}
    wrapped = {
        name: _CoreLinear(layer, *factors[name], cores[name], scale)
        for name, layer in layers.items()
    }
    for name, module in wrapped.items():
        model.set_submodule(name, module)
    try:
        yield {name: module.core for name, module in wrapped.items()}
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)
