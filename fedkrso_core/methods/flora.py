"""FLoRA: clients' LoRA adapters of any ranks are stacked, merged into the model, begun anew.

Wang, Shen, He, Sun, Wang, Lyu, Li, "FLoRA: Federated Fine-Tuning Large Language Models with
Heterogeneous Low-Rank Adaptations", NeurIPS 2024, arXiv 2409.05976.

    client c:  W_c = W^t + s B_c A_c, local steps on A_c and B_c from fresh A, B = 0
    server:    A = [A_1; ..; A_n],  B = [p_1 B_1, .., p_n B_n],  p_c = n_c / n
               W^{t+1} = W^t + s B A = W^t + sum_c p_c s B_c A_c

| symbol | name here | shape |
|---|---|---|
| A_c, B_c | "r/A/layer", "r/B/layer" with r the client's rank | (r_c, d_in), (d_out, r_c) |
| A, B | "A/layer", "B/layer" | (sum r_c, d_in), (d_out, sum r_c) |
| p_c | examples of the client over those of the round | scalar |
| s | alpha / rank | scalar |

Up: 4 r_c (d_in + d_out) bytes for each layer, and the classifier. Down: 4 sum_c r_c (d_in + d_out),
which grows with the clients, of each round that the client lacks, and the classifier; nothing
before round 1. The mean of the updates is exact. p_c is on one factor only: on both it would count
twice.

Departures: s is the same for all clients whatever their ranks, as with the paper's alpha = 2 r. A
is drawn anew in each round from the job's seed, the first rows the same for all ranks, so that all
start from one model without sending it.

Buffered rounds are exact: B_c A_c is a change of W, whatever W it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

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
from fedkrso_core.ops.rebase import rebased
from fedkrso_core.ops.targets import copy_into, target_and_head_names, target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import derive


class Config(RanksConfig):
    """Options of FLoRA."""


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that each round's A is drawn from."""
    return Payload(scalars={"seed": seed, "round": 0})


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on a fresh adapter of the client's rank, and on the classifier."""
    rank = config.rank_of(client.id)
    seed = derive(received.scalars["seed"], "flora", received.scalars["round"])
    adapters = {
        name: (initial_a(seed, name, rank, d_in_of(m)), torch.zeros(d_out_of(m), rank))
        for name, m in target_linears(model, config.targets, rank).items()
    }
    return named_by_rank(fit_adapters(model, adapters, config.scale, client), rank)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """This round's entry of the journal: the stack, and the mean classifier."""
    sent = sent_by(updates)
    tensors = dict(sent.dense)
    for layer, own in sent.a.items():
        scaled = [b * p for b, p in zip(sent.b[layer], sent.weights, strict=True)]
        tensors[f"A/{layer}"] = torch.cat(own)
        tensors[f"B/{layer}"] = torch.cat(scaled, dim=1)
    scalars = {"seed": state.scalars["seed"], "round": state.scalars["round"] + 1}
    return Payload(tensors, scalars)


def rebase(
    config: Config, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
) -> Update:
    """weight B_c; the classifier: the values of now plus the client's own change."""
    upload, parameters = update.upload, dict(model.named_parameters())
    now, then = ({**parameters, **one.under("dense/")} for one in (state, began))
    dense = rebased(upload.under("dense/"), now, then, weight)
    tensors = {
        name: tensor * weight if "/B/" in name else tensor
        for name, tensor in upload.tensors.items()
    }
    tensors |= {f"dense/{name}": value for name, value in dense.items()}
    return replace(update, upload=replace(upload, tensors=tensors))


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W + s B A of one round, and the classifier."""
    copy_into(model, state.under("dense/"))
    for layer, a in state.under("A/").items():
        merge(model.get_submodule(layer), a, state.tensors[f"B/{layer}"], config.scale)


METHOD = Method(
    name="flora",
    title="FLoRA (adapters stacked, ranks per client)",
    paper="arXiv 2409.05976",
    Config=Config,
    journal=True,
    init=init,
    check=check_ranks,
    expect=expect_ranks,
    sends=sends_rank,
    train=train,
    aggregate=aggregate,
    rebase=rebase,
    materialize=materialize,
    leaves_weights=True,
    varies=True,
    corrections=("fedprox",),
    reference=head_values,
    changes=target_and_head_names,
)
