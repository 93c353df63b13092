"""FlexLoRA: clients' LoRA adapters of any ranks are summed, and cut to each client's rank by SVD.

Bai, Chen, Qian, Yao, Li, "Federated Fine-tuning of Large Language Models under Heterogeneous
Tasks and Client Resources", NeurIPS 2024, arXiv 2402.11505.

    client c:  W_c = W_0 + s B_c A_c of rank r_c, local steps on A_c and B_c
    server:    dW = sum_c p_c s B_c A_c = U S V^T,  p_c = n_c / n
               client c of the next round: B_c = U_{r_c} S_{r_c} / s, A_c = V_{r_c}^T

| symbol | name here | shape |
|---|---|---|
| A_c, B_c | "r/A/layer", "r/B/layer" with r the client's rank | (r_c, d_in), (d_out, r_c) |
| V_R^T, U_R S_R / s | "A/layer", "B/layer", R = `kept` | (R, d_in), (d_out, R) |
| s | alpha / rank | scalar |

Up: 4 r_c (d_in + d_out) bytes for each layer, and the classifier. Down: 4 R (d_in + d_out), and
the classifier; nothing before round 1. Before the cut the mean of the updates is exact; the cut to
R makes it inexact, by the singular values beyond R.

Departures: dW is never formed: the SVD is taken in the span of the stacked factors. All clients
get one download of R columns, of which each takes its first r_c (the paper sends each its own):
R is the largest rank of all clients unless `server_rank` says more, and the global model has R. s
is the same for all clients whatever their ranks.

No buffered rounds: the factors of another round are along other singular vectors, so the
difference of two pairs is no pair.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.adapters import fit_adapters, head_values
from fedkrso_core.ops.layers import d_in_of, d_out_of
from fedkrso_core.ops.lora import initial_a, merge
from fedkrso_core.ops.ranks import (
    RanksConfig,
    check_ranks,
    expect_ranks,
    named_by_rank,
    sends_rank,
    sent_by,
)
from fedkrso_core.ops.span import truncated
from fedkrso_core.ops.targets import copy_into, target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(RanksConfig):
    """Options of FlexLoRA."""

    server_rank: int | None = Field(
        None, ge=1, description="R: rank that the server keeps; empty: the largest of the clients"
    )

    @property
    def kept(self) -> int:
        """R."""
        return self.server_rank or max(self.places)


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches, or a rank does not fit."""
    check_ranks(config, model, local)
    if config.kept < max(config.places):
        raise MethodError(
            f"{config.kept} is below a client's rank; allowed: from {max(config.places)}",
            "server_rank",
        )


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that A is drawn from."""
    return Payload(scalars={"seed": seed})


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on the first columns of the global adapter, and on the classifier."""
    copy_into(model, received.under("dense/"))
    rank = config.rank_of(client.id)
    layers = target_linears(model, config.targets, rank)
    adapters = {name: _start(received, name, layer, rank) for name, layer in layers.items()}
    return named_by_rank(fit_adapters(model, adapters, config.scale, client), rank)


def _start(received: Payload, name: str, layer: nn.Module, rank: int) -> tuple[Tensor, Tensor]:
    if f"A/{name}" not in received.tensors:
        a = initial_a(received.scalars["seed"], name, rank, d_in_of(layer))
        return a, torch.zeros(d_out_of(layer), rank)
    return received.tensors[f"A/{name}"][:rank], received.tensors[f"B/{name}"][:, :rank]


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The R largest singular directions of the mean of the products; the mean classifier."""
    sent = sent_by(updates)
    tensors = dict(sent.dense)
    for layer, own in sent.a.items():
        scaled = [b.double() * p for b, p in zip(sent.b[layer], sent.weights, strict=True)]
        b, a = truncated(torch.cat(scaled, dim=1), torch.cat(own), config.kept)
        tensors |= {f"A/{layer}": a, f"B/{layer}": b}
    return Payload(tensors, {"seed": state.scalars["seed"]})


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s B A, and the classifier."""
    copy_into(model, state.under("dense/"))
    for layer, a in state.under("A/").items():
        merge(model.get_submodule(layer), a, state.tensors[f"B/{layer}"], config.scale)


METHOD = Method(
    name="flexlora",
    title="FlexLoRA (SVD of the mean, ranks per client)",
    paper="arXiv 2402.11505",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect_ranks,
    sends=sends_rank,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    leaves_weights=True,
    varies=True,
    corrections=("fedprox",),
    reference=head_values,
)
