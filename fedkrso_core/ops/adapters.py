"""What the LoRA methods share: the adapters' names in payloads, their start, training, merging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, MethodConfig, Update
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layers import d_in_of, d_out_of
from fedkrso_core.ops.lora import initial_a, lora_layers, merge
from fedkrso_core.ops.targets import (
    Targets,
    copy_into,
    head_names,
    head_shapes,
    only_trainable,
    target_linears,
)
from fedkrso_core.payload import Payload


class LoraConfig(MethodConfig):
    """Options of a LoRA method."""

    rank: int = Field(4, ge=1, description="r: rows of A, columns of B")
    alpha: float = Field(8.0, gt=0, description="The adapter is scaled by alpha / rank")
    targets: Targets = Field(
        "all-linear", description="all-linear, or names that the adapted layers end with"
    )

    @property
    def scale(self) -> float:
        """s = alpha / r."""
        return self.alpha / self.rank


def starting_adapters(
    config: LoraConfig, model: nn.Module, state: Payload
) -> dict[str, tuple[Tensor, Tensor]]:
    """(A, B) of each layer: what the state holds, else A from the job's seed and B = 0."""
    layers = target_linears(model, config.targets, config.rank)
    seed = state.scalars["seed"]
    adapters = {}
    for name, layer in layers.items():
        a = state.tensors.get(f"A/{name}")
        b = state.tensors.get(f"B/{name}")
        adapters[name] = (
            initial_a(seed, name, config.rank, d_in_of(layer)) if a is None else a,
            torch.zeros(d_out_of(layer), config.rank) if b is None else b,
        )
    return adapters


def adapter_shapes(
    config: LoraConfig, model: nn.Module, parts: tuple[Literal["A", "B"], ...]
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Shapes of the sent factors by their names in the payload: A (r, d_in), B (d_out, r)."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, layer in target_linears(model, config.targets, config.rank).items():
        sides = {"A": (config.rank, d_in_of(layer)), "B": (d_out_of(layer), config.rank)}
        shapes |= {f"{part}/{name}": ("F32", sides[part]) for part in parts}
    return shapes


def expect_factors(
    config: LoraConfig, model: nn.Module, parts: tuple[Literal["A", "B"], ...]
) -> Expected:
    """An upload of the named factors of every layer alone."""
    return Expected(required=Group(tensors=adapter_shapes(config, model, parts)))


def expect_adapters(
    config: LoraConfig, model: nn.Module, parts: tuple[Literal["A", "B"], ...]
) -> Expected:
    """An upload of the named factors of every layer, and of the classifier."""
    shapes = adapter_shapes(config, model, parts) | head_shapes(model)
    return Expected(required=Group(tensors=shapes))


def train_adapters(
    config: LoraConfig,
    model: nn.Module,
    received: Payload,
    client: Client,
    parts: tuple[Literal["A", "B"], ...],
) -> Update:
    """Trains the named factors and the classifier on the base model; uploads just those."""
    copy_into(model, received.under("dense/"))
    adapters = starting_adapters(config, model, received)
    return fit_adapters(model, adapters, config.scale, client, parts)


def fit_adapters(
    model: nn.Module,
    adapters: Mapping[str, tuple[Tensor, Tensor]],
    scale: float,
    client: Client,
    parts: tuple[Literal["A", "B"], ...] = ("A", "B"),
) -> Update:
    """Trains (A, B) of the named layers, or one of the two, and the classifier as it stands.

    Uploads what was trained, as "A/layer", "B/layer" and "dense/parameter".
    """
    layers = {name: model.get_submodule(name) for name in adapters}
    head = only_trainable(model, head_names(model))
    with lora_layers(model, layers, adapters, scale) as wrapped:
        factors = {
            f"{part}/{name}": getattr(layer, part.lower())
            for name, layer in wrapped.items()
            for part in ("A", "B")
        }
        for name, factor in factors.items():
            factor.requires_grad_(name[0] in parts)
        trained = {name: factor for name, factor in factors.items() if factor.requires_grad}
        named = trained | {f"dense/{name}": p for name, p in head.items()}
        metrics = fit(model, client, trained.values(), head.values(), named)
    return Update(Payload(dict(named)), client.num_examples, metrics)


def adapter_values(config: LoraConfig, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """What a client that starts from `state` would send without a step, by the payload's names."""
    parameters = dict(model.named_parameters())
    head = {f"dense/{name}": parameters[name] for name in head_names(model)}
    adapters = starting_adapters(config, model, state).items()
    factors = {f"A/{name}": a for name, (a, _) in adapters}
    factors |= {f"B/{name}": b for name, (_, b) in adapters}
    return {**head, **factors, **state.tensors}


def head_values(_config: Any, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """The classifier as a client that starts from `state` has it, by its names in payloads."""
    heads, parameters = set(head_names(model)), model.named_parameters()
    base = {f"dense/{name}": p for name, p in parameters if name in heads}
    return {name: state.tensors.get(name, value) for name, value in base.items()}


def merge_adapters(config: LoraConfig, model: nn.Module, state: Payload) -> None:
    """Puts the global model into the base model: W <- W + s B A, and the classifier."""
    copy_into(model, state.under("dense/"))
    if not state.tensors:
        return
    adapters = starting_adapters(config, model, state)
    for name, layer in target_linears(model, config.targets, config.rank).items():
        merge(layer, *adapters[name], config.scale)
