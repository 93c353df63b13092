"""The protocol that every method follows: a frozen value of pure functions over plain data.

The engine never names a method. Both halves, server and client, live in one file of `methods/`;
the configuration is passed in, so either half can run in another process. Notation: t is the
round from 1; state t is what the server holds after round t; state 0 comes from `init`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fedkrso_core.compression import is_squeezed, squeezed, unsqueezed
from fedkrso_core.correction import Correction, Uncorrected
from fedkrso_core.expect import Expected
from fedkrso_core.options_spec import CorrectionKind
from fedkrso_core.payload import Payload, decode, encode
from fedkrso_core.spec import LocalSpec

_LARGEST_UPDATE = 2**40  # the door has looked at it before: this only ends a runaway


class MethodConfig(BaseModel):
    """Base of every method's Config: frozen, unknown options are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Client:
    """What a method's client half knows of the client it trains for.

    `batches()` yields exactly `local.steps` batches (input_ids, attention_mask, labels, ...),
    derived from (seed, round, client). `memory` is the client's own state between rounds: what its
    last accepted update had as `Update.memory`, empty before the first. It is not traffic.
    `on_step(n)` is called after the n-th optimizer step. `correction` adds to the gradients, where
    the method says that it lets it (`Method.corrections`).
    """

    id: int
    round: int
    seed: int
    local: LocalSpec
    num_examples: int
    batches: Callable[[], Iterator[dict[str, Tensor]]]
    memory: Payload = field(default_factory=Payload)
    on_step: Callable[[int], None] = lambda _: None
    correction: Correction = field(default_factory=Uncorrected)


@dataclass(frozen=True)
class Update:
    """What a client returns: the upload, its own memory, its weight and its metrics."""

    upload: Payload
    num_examples: int
    metrics: dict[str, float]
    memory: Payload = field(default_factory=Payload)


def pack(update: Update, compression: Literal["none", "zstd"] = "none") -> bytes:
    """The body of an upload: the payload with num_examples and metrics among its scalars."""
    own = {"num_examples": update.num_examples, "metrics": update.metrics}
    encoded = encode(replace(update.upload, scalars={**update.upload.scalars, **own}))
    return squeezed(encoded) if compression == "zstd" else encoded


def unpack(data: bytes) -> Update:
    """The update of an upload's body that passed `check_upload`."""
    payload = decode(unsqueezed(data, _LARGEST_UPDATE) if is_squeezed(data) else data)
    return Update(payload, payload.scalars["num_examples"], payload.scalars["metrics"])


def uniform(config: Any, state: Payload, clients: Sequence[int], count: int,
            rng: np.random.Generator) -> list[int]:  # fmt: skip
    """`count` of the clients, each as likely as any other, in ascending order."""
    return sorted(int(c) for c in rng.choice(np.asarray(clients), size=count, replace=False))


def nothing_optional(config: Any, client: Client) -> Collection[str]:
    """No optional group: the upload of a method that expects none."""
    return ()


def always_exact(config: Any, local: LocalSpec) -> None:
    """Stale updates are exact under all settings."""


def no_reference(config: Any, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """No tensor of an upload means the same in the next round."""
    return {}


@dataclass(frozen=True)
class Method:
    """A federated method.

    journal=True: states add up; the global model of round t is the base with states 0..t put in
    one after the other, and a client downloads the states that it lacks. `train` is handed the
    current global model.
    journal=False: each state replaces the one before; a client downloads the last. `train` is
    handed the base model and puts in what it received itself.

    check(config, model, local) -> None                        MethodError for what cannot run
    init(config, model, seed) -> state 0                       server, before round 1
    select(config, state, clients, count, rng) -> client ids   server
    expect(config, model, state) -> Expected                   shapes of the next upload
    sends(config, client) -> names of optional groups          what this client's upload will hold
    train(config, model, received, client) -> Update           client; received: last state
    aggregate(config, state, updates) -> state                 server; updates in client order
    rebase(config, model, state, began, update, weight)        server; -> the update as one of the
                                                               round after `state`
    materialize(config, model, state) -> None                  puts a state into `model`, or what
                                                               cannot be merged beside its weights
                                                               (`attached`; only without a journal)
    personalize(config, model, state, memory) -> None          the same, for a client's own model
    reference(config, model, state) -> {name: tensor}          what uploads are changes of
    changes(config, model) -> names of parameters              what a journal changes

    window(config) -> number of states: without a journal, a state may hold only what changed in its
    round. The model is then made of so many of the newest states, of each tensor the newest one;
    that is also what `train` receives and `materialize` puts in. `aggregate`, `expect` and `select`
    are handed the last state alone.

    Bytes are forecast from shapes alone (see `estimate.traffic`). So `expect` must give the same
    names and shapes in every round, and a tensor of the new state may depend, in name and shape,
    only on the required tensors and one optional group of the uploads. `varies=True` lifts that:
    every round is then played in full (see `estimate.replay`), which takes longer.

    `rebase` is what buffered rounds need: an update that was trained from the state `began` becomes
    one that `aggregate` may take beside those trained from `state`. The client's own change is kept
    and multiplied by `weight`; `model` has the base's weights, for what state 0 does not hold. It
    may rename tensors, but not depend on their values. None: the method has no buffered rounds.
    `rebases_fresh`: fresh updates go through it too, with `began` the very same as `state` and the
    weight 1; that is for uploads that are no values themselves, but a change of what state holds.
    `check_stale(config, local)` raises a MethodError for settings under which it would be inexact.

    `corrections` names those of the job's corrections that `train` lets `Client.correction` make:
    scaffold needs every required tensor of the upload to be a parameter that `fit` trains.

    `leaves_weights`: `train` reads and writes no W of the body, so that those may be quantized.

    `same_basis` says whether the tensors of two states can be added, element by element: then the
    server may have a momentum (see `server_step`). None: if states replace each other.

    `personalize` says that models are personal: parts stay with the client, in `Update.memory`. It
    is called in place of `materialize` for the newest state and puts the own model of the client
    with this memory into `model`. Clients measure that with the state that `aggregate` makes of
    their own update alone (see `personal`); the global model, without any client's parts, is what
    `materialize` gives and what is exported. None: there is one model, the global one.

    `reference` names the tensors of an upload that mean the same in every round and says what a
    client that begins with `state` would send of each without a step, in a shape that broadcasts
    (zero for what is a change already). `model` is as `rebase` or `train` is handed it. Jobs with
    `wire` send the changes of these with error feedback (see `coding`); tensors that are not named
    are sent as they are, rounded without a bias.

    `increments` is the prefix of the state's float32 tensors that `materialize` adds to the model,
    each named and shaped as in the uploads of the round: a job may have them rounded before they
    are the state (see `rounded_states`, which also needs the scalars "seed" and "round"). Empty:
    states are whole.

    `changes(config, model)` names the parameters that a journal's states ever change. A client that
    lacks more bytes of states than these weights have is sent the weights (see `checkpoint`).
    """

    name: str
    title: str
    paper: str
    Config: type[MethodConfig]
    journal: bool
    init: Callable[[Any, nn.Module, int], Payload]
    expect: Callable[[Any, nn.Module, Payload], Expected]
    train: Callable[[Any, nn.Module, Payload, Client], Update]
    aggregate: Callable[[Any, Payload, Iterable[Update]], Payload]
    materialize: Callable[[Any, nn.Module, Payload], None]
    check: Callable[[Any, nn.Module, LocalSpec], None]
    select: Callable[[Any, Payload, Sequence[int], int, np.random.Generator], list[int]] = uniform
    sends: Callable[[Any, Client], Collection[str]] = nothing_optional
    varies: bool = False
    window: Callable[[Any], int] | None = None
    rebase: Callable[[Any, nn.Module, Payload, Payload, Update, float], Update] | None = None
    check_stale: Callable[[Any, LocalSpec], None] = always_exact
    rebases_fresh: bool = False
    personalize: Callable[[Any, nn.Module, Payload, Payload], None] | None = None
    reference: Callable[[Any, nn.Module, Payload], Mapping[str, Tensor]] = no_reference
    increments: str = ""
    changes: Callable[[Any, nn.Module], Collection[str]] | None = None

    leaves_weights: bool = False
    same_basis: bool | None = None
    corrections: tuple[CorrectionKind, ...] = ()

    @property
    def fixed_basis(self) -> bool:
        """Whether a tensor of the state has the same coordinates in every round."""
        return not self.journal if self.same_basis is None else self.same_basis

    @property
    def is_personal(self) -> bool:
        """Whether each client ends with a model of its own."""
        return self.personalize is not None


def window_of(method: Method, config: Any) -> int:
    """How many of the newest states make a model without a journal."""
    return 1 if method.window is None else method.window(config)


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def shape_of(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    """A tensor's dtype and shape as `Expected` writes them."""
    return _NAMES[tensor.dtype], tuple(tensor.shape)


def dtype_of(name: str) -> torch.dtype:
    """The dtype that `Expected` writes as `name`."""
    return _DTYPES[name]
