"""The server's optimizer on a round of any method.

The pseudo-gradient is what aggregation changes. With S the state that `Method.aggregate` makes of
the round's updates, and S_0 the one that it would make of clients that changed nothing,

    D = S - S_0          by tensor; a tensor that S_0 lacks was zero
    new state = S_0 + step(D)

S_0 comes from `Method.rebase` with weight 0, which takes a client's own change away and leaves the
values of now. For methods whose states replace each other (weights, LoRA's factors, a classifier)
these are the differences of the states. For FedKRSO they are the accumulators of the round and the
change of the classifier: W moves by lr times the mean of what the clients changed.

FedKRSO's accumulators of two rounds lie along different seeds. A momentum of theirs would have to
carry the accumulators of all rounds, and squares by element of a projection's coordinates mean
nothing in the next one: only steps that remember nothing are defined (`Method.fixed_basis`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Method, Update
from fedkrso_core.ops.server_optimizer import stepped
from fedkrso_core.options_spec import ServerSpec
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


@dataclass(frozen=True)
class Aggregated:
    """The state after a round, and what the server's optimizer remembers for the next.

    `server` is None where nothing is remembered. It is not broadcast.
    """

    state: Payload
    server: Payload | None = None


@dataclass
class _Seen:
    """Hands updates on and remembers the first."""

    updates: Iterable[Update]
    first: Update | None = field(default=None)

    def __iter__(self) -> Iterator[Update]:
        for update in self.updates:
            self.first = self.first or update
            yield update


def aggregate(
    spec: ServerSpec,
    method: Method,
    config: Any,
    model: nn.Module | None,
    state: Payload,
    updates: Iterable[Update],
    memory: Payload,
) -> Aggregated:
    """The method's aggregation, and the server's step after it.

    `model` has the base's weights; it is needed where the server has an optimizer.
    """
    if not spec.steps:
        return Aggregated(method.aggregate(config, state, updates))
    assert method.rebase is not None
    assert model is not None
    seen = _Seen(updates)
    mean = method.aggregate(config, state, seen)
    assert seen.first is not None
    still = method.rebase(config, model, state, state, seen.first, 0.0)
    before = method.aggregate(config, state, [still])
    tensors, kept = stepped(spec, mean.tensors, before.tensors, memory.tensors)
    server = Payload(kept) if spec.remembers else None
    return Aggregated(replace(mean, tensors=tensors), server)


def check(spec: ServerSpec, method: Method, config: Any, local: LocalSpec) -> None:
    """MethodError if this optimizer is not defined for the states of this method."""
    if not spec.steps:
        return
    if method.rebase is None or method.varies:  # tensors of two rounds must have one shape
        raise MethodError(f"{method.name}'s states have no difference to step along; allowed: none")
    method.check_stale(config, local)
    if spec.remembers and not method.fixed_basis:
        raise MethodError(
            f"{spec.optimizer} remembers former rounds, and {method.name} has other coordinates in "
            "each; allowed: none, fedavgm with beta1: 0"
        )
