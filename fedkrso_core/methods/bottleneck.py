"""Bottleneck adapters: two small matrices after sublayers are trained, and averaged.

Houlsby, Giurgiu, Jastrzebski, Morrone, de Laroussilhe, Gesmundo, Attariyan, Gelly,
"Parameter-Efficient Transfer Learning for NLP", ICML 2019, arXiv 1902.00751; with
`attention: false` as in AdapterFusion (Pfeiffer et al., EACL 2021, arXiv 2005.00247).

    client c:  y -> y + U_c act(D_c y + b_c) + e_c, local steps on all four from the received ones
    server:    D = sum_c (n_c/n) D_c ;  U, b, e likewise

y is the output of the feed-forward part of a layer, and of its attention, before it is added to the
residual stream.

| symbol | name here | shape |
|---|---|---|
| D, b | "down.weight/layer", "down.bias/layer" | (w, d), (w,) |
| U, e | "up.weight/layer", "up.bias/layer" | (d, w), (d,) |
| w, d | width, width of the model | scalars |

Up and down: 4 (2 w d + w + d) bytes for each place, two in a layer or one, and the classifier; down
nothing before round 1: D comes from the job's seed, U and the biases are zero, so that training
begins at the base model. All of W is frozen. The mean of U and of D does not give the mean of what
they do to y: the aggregation is inexact.

The activation stands between the factors: they cannot be merged into W. What is exported is the
whole model with its adapters and a file of code, which transformers runs with
`trust_remote_code=True`; peft has no such adapter.

Departures: norms are frozen, where Houlsby et al. train them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.attached import attach, attached
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update, shape_of
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.bottleneck import Bottlenecks, bottlenecks_of, sublayer_outputs
from fedkrso_core.ops.bottleneck_code import Bottleneck
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layers import d_out_of
from fedkrso_core.ops.lora import initial_a
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import copy_into, head_names, head_shapes, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """Options of bottleneck adapters."""

    width: int = Field(16, ge=1, le=65_536, description="w: width of the bottleneck")
    activation: Literal["relu", "gelu", "silu"] = Field(
        "gelu", description="Activation in the bottleneck"
    )
    attention: bool = Field(
        True, description="Adapters after attention too (Houlsby); else after feed-forward alone"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if a layer of the model has no sublayers that are known."""
    sublayer_outputs(model, config.attention)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that D is drawn from."""
    return Payload(scalars={"seed": seed})


def _outlines(config: Config, model: nn.Module) -> dict[str, Bottleneck]:
    layers = sublayer_outputs(model, config.attention)
    size = d_out_of(next(iter(layers.values())))
    with torch.device("meta"):
        return bottlenecks_of(layers, config.width, size, config.activation)


def _by_name(adapters: Mapping[str, Bottleneck]) -> dict[str, nn.Parameter]:
    """Parameters by their names in payloads."""
    return {
        f"{part}/{layer}": p
        for layer, own in adapters.items()
        for part, p in own.named_parameters()
    }


def _start(name: str, shape: torch.Size, seed: int) -> Tensor:
    part, layer = name.split("/", 1)
    if part != "down.weight":
        return torch.zeros(shape)
    return initial_a(seed, f"bottleneck/{layer}", *shape)


def _adapters(config: Config, model: nn.Module, state: Payload) -> dict[str, Bottleneck]:
    """The adapters with what the state holds, else as the job's seed begins."""
    adapters, device = _outlines(config, model), next(model.parameters()).device
    for layer, own in adapters.items():
        values = {}
        for part, p in own.named_parameters():
            name = f"{part}/{layer}"
            known = state.tensors.get(name)
            value = _start(name, p.shape, state.scalars["seed"]) if known is None else known
            values[part] = value.detach().clone().to(device)
        own.load_state_dict(values, assign=True)
        own.requires_grad_(True)
    return adapters


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """All four of each place, and the classifier."""
    shapes = {name: shape_of(p) for name, p in _by_name(_outlines(config, model)).items()}
    return Expected(required=Group(tensors=shapes | head_shapes(model)))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on the adapters and the classifier."""
    copy_into(model, received.under("dense/"))
    adapters = _adapters(config, model, received)
    own, head = _by_name(adapters), only_trainable(model, head_names(model))
    named = own | {f"dense/{name}": p for name, p in head.items()}
    with attached(model, Bottlenecks(adapters)):
        metrics = fit(model, client, own.values(), head.values(), named)
    return Update(Payload(dict(named)), client.num_examples, metrics)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of the adapters and the classifier, weighted by examples."""
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})


def reference(config: Config, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """Adapters and classifier as a client receives them."""
    parameters = dict(model.named_parameters())
    head = {f"dense/{name}": parameters[name] for name in head_names(model)}
    return {**head, **_by_name(_adapters(config, model, state)), **state.tensors}


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Attaches the adapters, and puts the classifier in."""
    copy_into(model, state.under("dense/"))
    if state.tensors:
        adapters = _adapters(config, model, state)
        attach(model, Bottlenecks(adapters).requires_grad_(False))


METHOD = Method(
    name="bottleneck",
    title="Bottleneck adapters (Houlsby, Pfeiffer), averaged",
    paper="arXiv 1902.00751",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase_by(reference),
    reference=reference,
    materialize=materialize,
    leaves_weights=True,
    corrections=("fedprox", "scaffold"),
)
