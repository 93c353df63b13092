"""RoLoRA: federated LoRA that trains B and A in turn.

Chen, Guo, Ju, Dalal, Zhu, Khisti, "Robust Federated Finetuning of LLMs via Alternating
Optimization of LoRA", NeurIPS 2025, arXiv 2502.01755.

    round t odd:   client c trains B_c with A^t fixed;   B^{t+1} = sum_c (n_c/n) B_c
    round t even:  client c trains A_c with B^t fixed;   A^{t+1} = sum_c (n_c/n) A_c

| symbol | name here | shape |
|---|---|---|
| A | "A/layer" | (r, d_in) |
| B | "B/layer" | (d_out, r) |
| s | alpha / rank | scalar |

Up: 4 r d_out bytes for each layer in odd rounds, 4 r d_in in even ones, and the classifier. Down:
the halves of the last two rounds that the client was not sent, so one half in each round for a
client that takes part in all; nothing before round 1: A comes from the job's seed, B is zero.

The other half is the same on all clients, so the mean of the updates is exact: mean(B_c) A, and
B mean(A_c). B is first, since with B = 0 the gradient for A is zero.

No buffered rounds: a stale update may be one of the half that the others hold fixed now, and its
change, times a factor that has changed since, is no change of one half.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import nn

from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.adapters import (
    LoraConfig,
    expect_adapters,
    head_values,
    merge_adapters,
    train_adapters,
)
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.targets import target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(LoraConfig):
    """Options of RoLoRA."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that A is drawn from."""
    return Payload(scalars={"seed": seed, "round": 0})


def _next_half(state: Payload) -> tuple[Literal["A", "B"], ...]:
    """The half that is trained in the round after this state."""
    return ("A",) if state.scalars["round"] % 2 else ("B",)


def window(config: Config) -> int:
    """A state holds the half of its round; the other is in the state before."""
    return 2


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """A or B of every layer, and the classifier."""
    return expect_adapters(config, model, _next_half(state))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on one half and the classifier."""
    return train_adapters(config, model, received, client, _next_half(received))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of the half and the classifier, weighted by examples."""
    scalars = {"seed": state.scalars["seed"], "round": state.scalars["round"] + 1}
    return Payload(mean_of_uploads(updates), scalars)


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s B A, and the classifier."""
    merge_adapters(config, model, state)


METHOD = Method(
    name="rolora",
    title="RoLoRA (B and A in turn)",
    paper="arXiv 2502.01755",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    leaves_weights=True,
    varies=True,
    reference=head_values,
    window=window,
    corrections=("fedprox",),
)
