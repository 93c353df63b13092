"""FFA-LoRA: federated LoRA with A frozen, B averaged.

Sun, Li, Li, Ding, "Improving LoRA in Privacy-preserving Federated Learning", ICLR 2024,
arXiv 2403.12313.

    A_0 drawn once from a seed that everybody knows, never trained, never sent
    client c:  W_c = W_0 + s B_c A_0, local steps on B_c from the received B
    server:    B = sum_c (n_c/n) B_c

| symbol | name here | shape |
|---|---|---|
| A_0 | `initial_a`(seed, layer) | (r, d_in) |
| B | "B/layer" | (d_out, r) |
| s | alpha / rank | scalar |

Up and down: 4 r d_out bytes for each layer, and the classifier; down nothing before round 1. The
mean of the updates is exact: mean(B_c A_0) = mean(B_c) A_0.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.adapters import (
    LoraConfig,
    adapter_values,
    expect_adapters,
    merge_adapters,
    train_adapters,
)
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(LoraConfig):
    """Options of FFA-LoRA."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that the frozen A is drawn from."""
    return Payload(scalars={"seed": seed})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """B of every layer, and the classifier."""
    return expect_adapters(config, model, ("B",))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on B and the classifier."""
    return train_adapters(config, model, received, client, ("B",))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of B and the classifier, weighted by examples."""
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s B A_0, and the classifier."""
    merge_adapters(config, model, state)


METHOD = Method(
    name="ffa_lora",
    title="FFA-LoRA (A frozen, B averaged)",
    paper="arXiv 2403.12313",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase_by(adapter_values),
    reference=adapter_values,
    materialize=materialize,
    leaves_weights=True,
    corrections=("fedprox", "scaffold"),
)
