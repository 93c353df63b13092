"""The slope of a loss along a direction from two forward passes: no gradient, no graph.

    g = (L(w + eps z) - L(w - eps z)) / (2 eps)            ~ z^T grad L(w)

(SPSA: Spall, IEEE TAC 1992; in place as in MeZO: Malladi et al., arXiv 2305.17333, Algorithm 1.)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fedkrso_core.method import Client
from fedkrso_core.ops.fit import forward


def slope(
    move: Callable[[float], None], loss: Callable[[], Tensor], epsilon: float
) -> tuple[float, Tensor]:
    """(g, mean of both losses); `move(x)` adds x z to the weights, which are left at w - eps z.

    A power of two for epsilon and signs for z lose next to nothing where w is moved in place.
    """
    move(epsilon)
    above = loss()
    move(-2 * epsilon)
    below = loss()
    return float(above - below) / (2 * epsilon), (above + below) / 2


def loss_of(model: nn.Module, batch: dict[str, Tensor], client: Client) -> Callable[[], Tensor]:
    """The loss of a batch at the weights of the moment, at `local.precision`."""
    return lambda: forward(model, batch, client.local)
