"""Corrections of the clients' steps, put around any method that trains by gradients.

fedprox: a pull of strength mu back to the model of the round (see `correction.Proximal`).

scaffold: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging
for Federated Learning", ICML 2020, arXiv 1910.06378, Algorithm 1, option II.

    client i:  y <- y - eta (g(y) - c_i + c), K steps from x
               c_i+ = c_i - c + (x - y) / (K eta) ;  sends y and c_i+ - c_i ;  keeps c_i+
    server:    x as the method averages ;  c <- c + (1/N) sum_{i in S} (c_i+ - c_i)

| symbol | name here |
|---|---|
| c | "scaffold/name" of the state |
| c_i+ - c_i | "scaffold/name" of the upload |
| c_i | "scaffold/name" of the client's memory |
| N, K, eta | clients.count, local.steps, local.lr |

The variates have the shapes of what is trained, so upload and download are twice as large. That
(x - y) / (K eta) is a mean of gradients holds for plain SGD at one rate alone; all else is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core.correction import Controls, Proximal
from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.options_spec import CorrectionSpec
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec

_OWN = "scaffold/"


def with_correction(method: Method, spec: CorrectionSpec, clients: int) -> Method:
    """The method with corrected steps; `clients` is N."""
    if spec.kind == "fedprox" and spec.mu > 0:
        return with_fedprox(method, spec.mu)
    return with_scaffold(method, clients) if spec.kind == "scaffold" else method


def check(method: Method, spec: JobSpec) -> None:
    """MethodError if this correction is not defined for how the job trains."""
    kind, local = spec.correction.kind, spec.local
    if kind == "none":
        return
    if kind not in method.corrections:
        allowed = ", ".join(("none", *method.corrections))
        raise MethodError(f"{method.name} takes no steps that it could correct; allowed: {allowed}")
    if kind == "fedprox":
        if method.journal and local.weight_decay:
            raise MethodError(
                f"with {method.name} and local.weight_decay {local.weight_decay:g}; allowed: 0"
            )
        return
    plain: dict[str, tuple[Any, Any]] = {
        "local.optimizer": (local.optimizer, "sgd"),
        "local.schedule": (local.schedule, "constant"),
        "local.weight_decay": (local.weight_decay, 0),
        "local.head_lr": (local.head_lr or local.lr, local.lr),
        "rounds.mode": (spec.rounds.mode, "sync"),
        "server.optimizer": (spec.server.optimizer, "none"),
    }
    for name, (value, needed) in plain.items():
        if value != needed:
            raise MethodError(f"with {name} {value}; allowed with scaffold: {needed}")


def with_fedprox(method: Method, mu: float) -> Method:
    """The method, whose clients are pulled back to the model that they began with."""

    def train(config: Any, model: nn.Module, received: Payload, client: Client) -> Update:
        return method.train(config, model, received, replace(client, correction=Proximal(mu)))

    return replace(method, train=train)


def with_scaffold(method: Method, clients: int) -> Method:
    """The method with control variates for every required tensor of its upload."""

    def expect(config: Any, model: nn.Module, state: Payload) -> Expected:
        expected = method.expect(config, model, _without(state))
        own = {f"{_OWN}{name}": kind for name, kind in expected.required.tensors.items()}
        tensors = {**expected.required.tensors, **own}
        required = expected.required.model_copy(update={"tensors": tensors})
        return expected.model_copy(update={"required": required})

    def train(config: Any, model: nn.Module, received: Payload, client: Client) -> Update:
        names = method.expect(config, model, _without(received)).required.tensors
        c, own = received.under(_OWN), client.memory.under(_OWN)
        shift = {n: _zero(c, n) - _zero(own, n) for n in names if n in c or n in own}
        controls = Controls({n: t for n, t in shift.items() if isinstance(t, Tensor)})
        inner = replace(client, memory=_without(client.memory), correction=controls)
        update = method.train(config, model, _without(received), inner)
        return _with_variates(update, controls, client, own, list(names))

    def aggregate(config: Any, state: Payload, updates: Iterable[Update]) -> Payload:
        parted = _Parted(updates)
        new = method.aggregate(config, _without(state), parted)
        c = state.under(_OWN)
        own = {f"{_OWN}{n}": total / clients + _zero(c, n) for n, total in parted.sums.items()}
        return replace(new, tensors={**new.tensors, **own})

    def materialize(config: Any, model: nn.Module, state: Payload) -> None:
        method.materialize(config, model, _without(state))

    def personalize(config: Any, model: nn.Module, state: Payload, memory: Payload) -> None:
        assert method.personalize is not None
        method.personalize(config, model, _without(state), _without(memory))

    return replace(
        method,
        expect=expect,
        train=train,
        aggregate=aggregate,
        materialize=materialize,
        personalize=personalize if method.is_personal else None,
        rebase=None,
    )


@torch.no_grad()
def _with_variates(
    update: Update, controls: Controls, client: Client, own: dict[str, Tensor], names: list[str]
) -> Update:
    """The update with the change of c_i in its upload and c_i in its memory."""
    length = client.local.steps * client.local.lr
    sent, kept = {}, {}
    for name in names:
        end, shift = update.upload.tensors[name].detach(), controls.shift.get(name)
        mean = (controls.start[name] - end) / length
        now = mean if shift is None else mean - shift.to(mean)
        sent[f"{_OWN}{name}"] = now - own[name].to(now) if name in own else now
        kept[f"{_OWN}{name}"] = now.cpu()
    upload = replace(update.upload, tensors={**update.upload.tensors, **sent})
    memory = replace(update.memory, tensors={**update.memory.tensors, **kept})
    return replace(update, upload=upload, memory=memory)


@dataclass
class _Parted:
    """Hands updates on without their variates, and adds those up."""

    updates: Iterable[Update]
    sums: dict[str, Tensor] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Update]:
        for update in self.updates:
            for name, change in update.upload.under(_OWN).items():
                self.sums[name] = self.sums[name] + change if name in self.sums else change
            yield replace(update, upload=_without(update.upload))


def _zero(tensors: dict[str, Tensor], name: str) -> Tensor | float:
    return tensors.get(name, 0.0)


def _without(payload: Payload) -> Payload:
    tensors = {n: t for n, t in payload.tensors.items() if not n.startswith(_OWN)}
    return replace(payload, tensors=tensors)
