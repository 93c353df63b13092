"""FedIT: federated LoRA, both factors averaged.

Zhang, Vahidian, Kuo, Li, Zhang, Yu, Zhou, Chen, "Towards Building the Federated GPT: Federated
Instruction Tuning", ICASSP 2024, arXiv 2305.05644, Algorithm 1.

    client c:  W_c = W_0 + s B_c A_c, local steps on A_c and B_c from the received A, B
    server:    A = sum_c (n_c/n) A_c ;  B = sum_c (n_c/n) B_c

| symbol | name here | shape |
|---|---|---|
| A | "A/layer" | (r, d_in) |
| B | "B/layer" | (d_out, r) |
| s | alpha / rank | scalar |

Up and down: 4 r (d_in + d_out) bytes for each layer, and the classifier. Down nothing before round
1: A comes from the job's seed, B is zero. The mean of the products is not the product of the means
(mean(B_c A_c) != B A): the aggregation is inexact, as in the paper.
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
    """Options of FedIT."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that A is drawn from."""
    return Payload(scalars={"seed": seed})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """A and B of every layer, and the classifier."""
    return expect_adapters(config, model, ("A", "B"))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on A, B and the classifier."""
    return train_adapters(config, model, received, client, ("A", "B"))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of the factors and the classifier, weighted by examples."""
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s B A, and the classifier."""
    merge_adapters(config, model, state)


METHOD = Method(
    name="fedit",
    title="FedIT (LoRA, A and B averaged)",
    paper="arXiv 2305.05644",
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
