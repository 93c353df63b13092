"""Fed-SB: one small square matrix between two frozen factors is all that is trained and sent.

Singhal, Ponkshe, Vartak, Varshney, Vepakomma, "Fed-SB: A Silver Bullet for Extreme Communication
Efficiency and Performance in (Private) Federated LoRA Fine-Tuning", arXiv 2502.15436.

    client c:  W_c = W_0 + s B R_c A, B and A frozen, local steps on R_c from the received R
    server:    R = sum_c (n_c/n) R_c

| symbol | name here | shape |
|---|---|---|
| A, rows orthonormal | `frozen_factors` | (r, d_in) |
| B, columns orthonormal | `frozen_factors` | (d_out, r) |
| R | "R/layer" | (r, r) |
| s | scale | scalar |

Up and down: 4 r^2 bytes for each layer, and the classifier, whatever the size of the layer and the
number of clients; down nothing before round 1. The mean of the updates is exact:
mean(B R_c A) = B mean(R_c) A. R starts at zero.

Departures: the paper takes B, A and the start of R from LoRA-SB (arXiv 2411.19557), the singular
vectors of a first full gradient, which somebody must compute on data. Here clients share neither
data nor gradients, so the frozen factors are what all parties can compute alone, from the job's
seed: with `basis: weights` the main singular directions of W_0, found by block power iteration from
a seeded start, or with `basis: random` random directions. Both are computed in float64 and made
orthonormal, so that machines differ in the last bits only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.ops.adapters import head_values
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.core_layer import core_layers, frozen_factors
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layers import matrix_of
from fedkrso_core.ops.lora import merge
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import (
    Targets,
    copy_into,
    head_names,
    head_shapes,
    only_trainable,
    target_linears,
)
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """Options of Fed-SB."""

    rank: int = Field(16, ge=1, description="r: R is r x r")
    scale: float = Field(1.0, gt=0, description="s: B R A is scaled by it")
    basis: Literal["weights", "random"] = Field(
        "weights",
        description="Frozen factors: the main directions of the weights, or random ones",
    )
    targets: Targets = Field(
        "all-linear", description="all-linear, or names that the adapted layers end with"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that the frozen factors are drawn from."""
    return Payload(scalars={"seed": seed})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """R of every layer, and the classifier."""
    layers = target_linears(model, config.targets, config.rank)
    cores = {f"R/{name}": ("F32", (config.rank, config.rank)) for name in layers}
    return Expected(required=Group(tensors=cores | head_shapes(model)))


def _factors(config: Config, model: nn.Module, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """(B, A) of each layer, of the base model's weights."""
    return {
        name: frozen_factors(matrix_of(layer), config.rank, config.basis, seed, name)
        for name, layer in target_linears(model, config.targets, config.rank).items()
    }


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on R and the classifier."""
    copy_into(model, received.under("dense/"))
    factors = _factors(config, model, received.scalars["seed"])
    zero = torch.zeros(config.rank, config.rank)
    start = {name: received.tensors.get(f"R/{name}", zero) for name in factors}
    head = only_trainable(model, head_names(model))
    with core_layers(model, factors, start, config.scale) as cores:
        named = {f"R/{name}": core for name, core in cores.items()}
        named |= {f"dense/{name}": p for name, p in head.items()}
        metrics = fit(model, client, cores.values(), head.values(), named)
    return Update(Payload(dict(named)), client.num_examples, metrics)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of R and the classifier, weighted by examples."""
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})


def reference(config: Config, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """R, zero at first, and the classifier."""
    start = {f"R/{n}": torch.zeros(()) for n in target_linears(model, config.targets, config.rank)}
    return {**head_values(config, model, state), **start, **state.tensors}


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s B R A, and the classifier."""
    copy_into(model, state.under("dense/"))
    cores = state.under("R/")
    if not cores:
        return
    for name, (b, a) in _factors(config, model, state.scalars["seed"]).items():
        merge(model.get_submodule(name), a, b @ cores[name].to(b), config.scale)


METHOD = Method(
    name="fed_sb",
    title="Fed-SB (r x r between frozen factors)",
    paper="arXiv 2502.15436",
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
    corrections=("fedprox", "scaffold"),
)
