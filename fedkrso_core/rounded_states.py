"""States on their way with fewer bits: what clients download of methods whose states add up.

`wire.download` rounds a new state before anyone has seen it, so the rounded state is the state: the
server and every client, whether it was there or catches up later, put the same numbers into the
model, and the models stay the same bit by bit. For FedKRSO's mean accumulators A_k

    W <- D W + sum_k Q(A_k) P_k        with E[Q(A_k)] = A_k

rounding at random (see `wire`) adds noise that is right on average: over T rounds its variance
grows as that of T independent errors, while what is learnt adds up. Only tensors that are added to
the model are rounded (`Method.increments`); a classifier that is replaced would lose every change
that is smaller than a step. What a state takes from the rounds before it is not rounded again.

The generator derives from the seed and the round that the state names, and the tensor's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core.coding import float_shapes
from fedkrso_core.errors import MethodError
from fedkrso_core.method import Method, Update, dtype_of, shape_of
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.wire import coded, decoded
from fedkrso_core.wire_spec import WireDtype, form_of


def check(method: Method, dtype: WireDtype, buffered: bool) -> None:
    """MethodError where states may not be rounded."""
    if dtype == "fp32":
        return
    if not method.increments:
        raise MethodError(f"{method.name}'s states replace each other; allowed: fp32")
    if buffered:
        raise MethodError("buffered rounds carry accumulators of earlier rounds; allowed: fp32")


def with_rounded_states(method: Method, dtype: WireDtype) -> Method:
    """The method, whose states have their increments as `dtype`."""

    def aggregate(config: Any, state: Payload, updates: Iterable[Update]) -> Payload:
        return _rounded(method.aggregate(config, state, updates), method.increments, dtype)

    def materialize(config: Any, model: nn.Module, state: Payload) -> None:
        method.materialize(config, model, _restored(config, model, state))

    def _restored(config: Any, model: nn.Module, state: Payload) -> Payload:
        if not state.under(method.increments):
            return state
        shapes = float_shapes(method.expect(config, model, state))
        tensors = {
            name: decoded(name, tensor, dtype, shapes[name])
            if name.startswith(method.increments)
            else tensor
            for name, tensor in state.tensors.items()
        }
        return replace(state, tensors=tensors)

    return replace(method, aggregate=aggregate, materialize=materialize)


def _rounded(state: Payload, prefix: str, dtype: WireDtype) -> Payload:
    tensors = {
        name: _coded(tensor, dtype, state, name) if name.startswith(prefix) else tensor
        for name, tensor in state.tensors.items()
    }
    return replace(state, tensors=tensors)


def _coded(tensor: Tensor, dtype: WireDtype, state: Payload, name: str) -> Tensor:
    if tensor.is_meta:  # a forecast: only the shape is of interest
        kind, shape = form_of(dtype, *shape_of(tensor))
        return torch.empty(shape, dtype=dtype_of(kind), device="meta")
    if dtype == "bf16":
        return coded(tensor, dtype)
    where = state.scalars["seed"], "download", state.scalars["round"]
    return coded(tensor, dtype, generator(*where, name))
