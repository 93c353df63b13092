"""A layer whose rows are pruned by trainable thresholds (SpaFL, arXiv 2406.00431, section 3).

    m_i = 1 if mean_j |W_ij| - tau_i > 0, else 0          y = x (m W)^T + b

Backward through the step function is straight-through: the derivative of m_i by its argument is
taken to be 1, for W and for tau alike.

Notation: W (d_out, d_in), tau and m (d_out,).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fedkrso_core.ops.layers import matrix_of


def margin(w: Tensor, tau: Tensor) -> Tensor:
    """mean_j |W_ij| - tau_i (d_out,)."""
    return w.abs().mean(1) - tau


def mask(w: Tensor, tau: Tensor) -> Tensor:
    """m (d_out,) as numbers of W's type."""
    return (margin(w, tau) > 0).to(w.dtype)


@torch.no_grad()
def shift(w: Tensor, step: Tensor) -> None:
    """W_ij <- W_ij - step_i sign(sum_j W_ij) / d_in: a row moves as its threshold did."""
    w.sub_((step.to(w) * w.sum(1).sign() / w.shape[1])[:, None])


class ThresholdLayer(nn.Module):
    """Stands in for a layer while its weight and its thresholds are trained."""

    def __init__(self, layer: nn.Module, tau: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.tau = nn.Parameter(tau.detach().clone().to(matrix_of(layer)))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        w = matrix_of(self.layer)
        soft = margin(w, self.tau)
        kept = (soft > 0).to(w.dtype) + soft - soft.detach()
        bias = getattr(self.layer, "bias", None)
        return linear(x, w * kept[:, None], bias)


@contextmanager
def threshold_layers(
    model: nn.Module, layers: Mapping[str, nn.Module], taus: Mapping[str, Tensor]
) -> Iterator[dict[str, ThresholdLayer]]:
    """Puts a ThresholdLayer in the place of each layer, and the layers back at the end."""
    wrapped = {name: ThresholdLayer(layer, taus[name]) for name, layer in layers.items()}
    for name, module in wrapped.items():
        model.set_submodule(name, module)
    try:
        yield wrapped
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)
