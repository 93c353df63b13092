"""LoRA layers: y = x W^T + b + s (x A^T) B^T with s = alpha / r (Hu et al., arXiv 2106.09685).

Notation: W (d_out, d_in) frozen, A (r, d_in), B (d_out, r).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fedkrso_core.ops.layers import matrix_of
from fedkrso_core.seeds import generator


def initial_a(seed: int, layer: str, rank: int, d_in: int) -> Tensor:
    """A (rank, d_in), uniform in +-1/sqrt(d_in) as Kaiming's rule gives it for LoRA.

    Drawn from (seed, layer name), so that all parties start from the same A without sending it.
    """
    bound = 1 / math.sqrt(d_in)
    values = generator(seed, "lora-a", layer).random((rank, d_in)) * 2 - 1
    return torch.from_numpy(values * bound).float()


class LoraLinear(nn.Module):
    """Stands in for a layer while its adapter is trained."""

    def __init__(self, layer: nn.Module, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        device = matrix_of(layer).device
        self.a = nn.Parameter(a.detach().clone().to(device))
        self.b = nn.Parameter(b.detach().clone().to(device))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y = self.layer(x)
        change = linear(linear(x.to(self.a.dtype), self.a), self.b) * self.scale
        return y + change.to(y.dtype)  # type: ignore[no-any-return]


@contextmanager
def lora_layers(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    adapters: Mapping[str, tuple[Tensor, Tensor]],
    scale: float,
) -> Iterator[dict[str, LoraLinear]]:
    """Puts a LoraLinear with (A, B) in the place of each layer, and the layers back at the end."""
    wrapped = {n: LoraLinear(layer, *adapters[n], scale) for n, layer in layers.items()}
    for name, module in wrapped.items():
        model.set_submodule(name, module)
    try:
        yield wrapped
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)


@torch.no_grad()
def merge(layer: nn.Module, a: Tensor, b: Tensor, scale: float) -> None:
    """W <- W + s B A."""
    weight = matrix_of(layer)
    weight.addmm_(b.to(weight), a.to(weight), alpha=scale)
