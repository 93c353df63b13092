"""FedTT+: tensor-train adapters of which each round trains some cores, by default one.

Ghiasvand, Yang, Xue, Alizadeh, Zhang, Pedarsani, "Communication-Efficient and Tensorized Federated
Fine-Tuning of Large Language Models", Findings of ACL 2025, arXiv 2410.13097.

    round t:   J_t = the next `per_round` cores, in turn; the others are frozen, the same on all
    client c:  W_c = W_0 + s TT(G_1 .. G_J), local steps on G_j, j in J_t
    server:    G_j = sum_c (n_c/n) G_j,c for j in J_t

| symbol | name here | shape |
|---|---|---|
| G_j, j = 1..J, J = 2 m | "G/j/layer" | (r_{j-1}, n_j, r_j), r_0 = r_J = 1, else r |
| n_1 .. n_m, n_{m+1} .. n_J | `modes_of` d_out and d_in | product d_out, d_in |
| s, m | scale, modes | scalars |
| J_t | `cores_of_round` | per_round numbers |

Up: 4 r_{j-1} n_j r_j bytes for each j in J_t and each layer, and the classifier. Down: the cores of
the last ceil(J / per_round) rounds that the client was not sent, so those of one round for a client
that takes part in all; nothing before round 1. TT(..) is linear in one core, so with per_round = 1
the mean of the updates is exact; with more it is inexact.

Departures: those of FedTT. That portions of the cores are frozen is the paper's, by which rule was
not at hand: here they take turns, beginning with G_1, which starts at zero, so that the gradients
of the others are zero before it is trained.

No buffered rounds: a stale update may be of a core that the others hold fixed now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import Field
from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.targets import target_linears
from fedkrso_core.ops.tt_adapters import TensorTrainConfig, expect_cores, merge_cores, train_cores
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(TensorTrainConfig):
    """Options of FedTT+."""

    per_round: int = Field(1, ge=1, description="Cores that a round trains; 1 is exact")


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches, or the rank or the number of cores does not fit."""
    target_linears(model, config.targets, config.rank)
    if config.per_round > config.cores:
        raise MethodError(
            f"{config.per_round} is above the number of cores; allowed: 1 to {config.cores}",
            "per_round",
        )


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that the cores are drawn from."""
    return Payload(scalars={"seed": seed, "round": 0})


def cores_of_round(config: Config, state: Payload) -> set[int]:
    """J_t of the round after this state."""
    first = state.scalars["round"] * config.per_round
    return {(first + k) % config.cores + 1 for k in range(config.per_round)}


def window(config: Config) -> int:
    """The rounds in which every core had its turn."""
    return math.ceil(config.cores / config.per_round)


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """The round's cores of every layer, and the classifier."""
    return expect_cores(config, model, cores_of_round(config, state))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on the round's cores and the classifier."""
    return train_cores(config, model, received, client, cores_of_round(config, received))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of the round's cores and the classifier, weighted by examples."""
    scalars = {"seed": state.scalars["seed"], "round": state.scalars["round"] + 1}
    return Payload(mean_of_uploads(updates), scalars)


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s TT(G_1 .. G_J), and the classifier."""
    merge_cores(config, model, state)


METHOD = Method(
    name="fedtt_plus",
    title="FedTT+ (tensor-train adapters, cores in turn)",
    paper="arXiv 2410.13097",
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
    window=window,
    corrections=("fedprox",),
)
