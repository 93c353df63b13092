"""The updates of a round, each in terms of that round: stale ones are rebased and weighted down.

An update is counted in round t and was trained from the model that round t - s began with; s is its
staleness. With n_c the client's rows, w(s) of `rounds_spec` and Delta_c the client's own change,

    x_t = x_{t-1} + sum_c n_c w(s_c) Delta_c / sum_c n_c

As in FedBuff (Nguyen et al., arXiv 2106.06639, Algorithm 1) the sum is divided by the size of the
buffer, here counted in rows, and not by the sum of the weights: a buffer full of stale updates
makes a smaller step, where dividing by the weights would undo them whenever all are equally stale.
With only fresh updates this is the mean of a synchronous round, bit for bit: a fresh update is
handed on as it is, or as what it stands for (`Method.rebases_fresh`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected
from fedkrso_core.method import Method, Update, dtype_of
from fedkrso_core.payload import Payload
from fedkrso_core.rounds_spec import RoundsSpec


@dataclass(frozen=True)
class Counted:
    """A client's update that is counted in a round; `began` gives the state that it began with."""

    staleness: int
    update: Callable[[], Update]
    began: Callable[[], Payload]
    client: int


def in_one_round(
    method: Method,
    config: Any,
    rounds: RoundsSpec,
    untrained: Callable[[], nn.Module],
    state: Payload,
    counted: Iterable[Counted],
) -> Iterator[Update]:
    """The updates for `Method.aggregate`, one in memory at a time, in the order given.

    `state` is that before the round; `untrained` gives the model as state 0 has it, and is asked
    once if any update is stale.
    """
    base = cache(untrained)

    def fresh(one: Counted) -> Update:
        if one.staleness == 0:
            return taken(method, config, base, state, one.update())
        if method.rebase is None:
            raise MethodError(f"{method.name} takes no updates of an earlier round")
        weight = rounds.weight(one.staleness)
        return method.rebase(config, base(), state, one.began(), one.update(), weight)

    return map(fresh, counted)


def taken(
    method: Method,
    config: Any,
    base: Callable[[], nn.Module],
    state: Payload,
    update: Update,
) -> Update:
    """A fresh update as `Method.aggregate` takes it; `base` gives the model as state 0 has it."""
    if not method.rebases_fresh:
        return update
    assert method.rebase is not None
    return method.rebase(config, base(), state, state, update, 1.0)


def still(method: Method, config: Any, model: nn.Module, state: Payload) -> Payload:
    """What of an upload is not zero if its client, which begins with `state`, takes no step.

    `Method.reference` says it, and for other tensors `Method.rebase` of an update that counts for
    nothing, which leaves the values of now. `model` has the base's weights.
    """
    known = dict(method.reference(config, model, state))
    if method.rebase is not None and not method.rebases_fresh:
        nothing = Update(_zeros(method.expect(config, model, state)), 1, {})
        found = method.rebase(config, model, state, state, nothing, 0.0).upload.tensors
        known = {name: t for name, t in found.items() if t.any()} | known
    return Payload(known)


def _zeros(expected: Expected) -> Payload:
    groups = (expected.required, *expected.optional.values())
    tensors = {
        name: torch.zeros(shape, dtype=dtype_of(dtype))
        for group in groups
        for name, (dtype, shape) in group.tensors.items()
    }
    return Payload(tensors)
