"""Values that were trained from an old model, as if from the model of now.

    x  ->  x_now + w (x - x_then)

The client's own change x - x_then, weighted by w, on top of the values of now: so that the mean
over a buffer is x_now + sum_c (n_c / n) w_c (x_c - x_then,c), whatever each client began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fedkrso_core.method import Update
from fedkrso_core.payload import Payload

Rebase = Callable[[Any, nn.Module, Payload, Payload, Update, float], Update]


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


def rebase_by(values: Callable[[Any, nn.Module, Payload], Mapping[str, Tensor]]) -> Rebase:
    """`Method.rebase` of uploads that are values, each rebased apart as each is averaged apart.

    values(config, model, state) -> what a client that begins with `state` would send without a
    step, by the names in payloads, in shapes that broadcast.
    """

    def rebase(
        config: Any, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
    ) -> Update:
        now, then = (values(config, model, one) for one in (state, began))
        tensors = rebased(update.upload.tensors, now, then, weight)
        return replace(update, upload=replace(update.upload, tensors=tensors))

    return rebase
