"""Values that were trained from an old model, as if from the model of now.

    x  ->  x_now + w (x - x_then)

The client's own change x - x_then, weighted by w, on top of the values of now: so that the mean
over a buffer is x_now + sum_c (n_c / n) w_c (x_c - x_then,c), whatever each client began with.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def rebased(
    values: Mapping[str, Tensor],
    now: Mapping[str, Tensor],
    then: Mapping[str, Tensor],
    weight: float,
) -> dict[str, Tensor]:
    """New tensors by the names of `values`; `now` and `then` have those names too."""
    return {
        name: (x - then[name].detach().to(x)).mul_(weight).add_(now[name].detach().to(x))
        for name, x in values.items()
    }
