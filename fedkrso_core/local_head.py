"""`local_head: true`: the classifier stays with the client and does not travel.

Any method whose uploads hold the classifier as tensors of its own becomes one whose uploads do not:
the classifier of a client is put into the model before its local steps, and what they made of it is
part of its memory. All else is averaged as before. The idea is that of FedPer (Arivazhagan et al.,
arXiv 1912.00818): shared base layers, personal last layers.

A client's own model is the global one with its own classifier. The global model, which is what is
exported, has the classifier that the base model began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.targets import copy_into, head_names
from fedkrso_core.payload import Payload

_KEPT = "local_head/"
T = TypeVar("T")


def with_local_head(method: Method) -> Method:
    """The method, but for the classifier, which its clients keep."""

    def expect(config: Any, model: nn.Module, state: Payload) -> Expected:
        expected, heads = method.expect(config, model, state), head_names(model)
        optional = {name: _without(group, heads) for name, group in expected.optional.items()}
        required = _without(expected.required, heads)
        return expected.model_copy(update={"required": required, "optional": optional})

    def train(config: Any, model: nn.Module, received: Payload, client: Client) -> Update:
        copy_into(model, client.memory.under(_KEPT))
        update = method.train(
            config, model, received, replace(client, memory=_others(client.memory))
        )
        heads, parameters = head_names(model), dict(model.named_parameters())
        upload = replace(update.upload, tensors=_travels(update.upload.tensors, heads))
        kept = {f"{_KEPT}{name}": parameters[name].detach().clone() for name in heads}
        memory = replace(update.memory, tensors={**update.memory.tensors, **kept})
        return replace(update, upload=upload, memory=memory)

    def personalize(config: Any, model: nn.Module, state: Payload, memory: Payload) -> None:
        if method.personalize is None:
            method.materialize(config, model, state)
        else:
            method.personalize(config, model, state, _others(memory))
        copy_into(model, memory.under(_KEPT))

    def changes(config: Any, model: nn.Module) -> list[str]:
        assert method.changes is not None
        heads = head_names(model)
        return [name for name in method.changes(config, model) if name not in heads]

    return replace(
        method,
        expect=expect,
        train=train,
        personalize=personalize,
        changes=None if method.changes is None else changes,
    )


def require_head(method: Method, config: Any, model: nn.Module) -> None:
    """MethodError if this method's uploads hold no classifier that could stay with the client."""
    expected = method.expect(config, model, method.init(config, model, 0))
    sent = {name for group in (expected.required, *expected.optional.values())
            for name in group.tensors}  # fmt: skip
    heads = head_names(model)
    if not heads or len(_travels(dict.fromkeys(sent), heads)) == len(sent):
        raise MethodError(f"{method.name} sends no classifier of this model; allowed: false")


def _travels(tensors: Mapping[str, T], heads: list[str]) -> dict[str, T]:
    """All but the classifier, whose tensors are named as in the model, or so after "dense/"."""
    stay = {*heads, *(f"dense/{name}" for name in heads)}
    return {name: value for name, value in tensors.items() if name not in stay}


def _without(group: Group, heads: list[str]) -> Group:
    return group.model_copy(update={"tensors": _travels(group.tensors, heads)})


def _others(memory: Payload) -> Payload:
    """What the method itself keeps."""
    tensors = {n: t for n, t in memory.tensors.items() if not n.startswith(_KEPT)}
    return replace(memory, tensors=tensors)
