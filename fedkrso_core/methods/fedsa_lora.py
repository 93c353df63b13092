"""FedSA-LoRA: A is shared, B and the classifier stay with the client.

Guo, Zeng, Wang, Fan, Wang, Qu, "Selective Aggregation for Low-Rank Adaptation in Federated
Learning", ICLR 2025, arXiv 2410.01463.

    client c:  W_c = W_0 + s B_c A_c, local steps on both from the received A and its own B_c
               sends A_c; keeps B_c and its classifier
    server:    A = sum_c (n_c/n) A_c

| symbol | name here | shape |
|---|---|---|
| A | "A/layer" | (r, d_in) |
| B_c, classifier | "B/layer", "dense/name" in the client's memory | (d_out, r), as in the model |
| s | alpha / rank | scalar |

Up and down: 4 r d_in bytes for each layer, nothing else; down nothing before round 1: A comes from
the job's seed, a client's first B is zero. As a mean of the clients' models it is inexact, and not
meant to be one: each client has its own, which is what the metrics of a job are measured on. The
global model has no B, so it is the base model: what users take home are the clients' memories.

`correction: fedprox` pulls A alone: B and the classifier are not those of the round.

Departure: with tasks that have no classifier (language models) B alone stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from fedkrso_core.correction import OfNames
from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.adapters import (
    LoraConfig,
    adapter_values,
    expect_factors,
    merge_adapters,
    train_adapters,
)
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(LoraConfig):
    """Options of FedSA-LoRA."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that A is drawn from."""
    return Payload(scalars={"seed": seed})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """A of every layer."""
    return expect_factors(config, model, ("A",))


def _own(state: Payload, memory: Payload) -> Payload:
    """The shared A with what the client kept."""
    return replace(state, tensors={**state.tensors, **memory.tensors})


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on A, the client's B and its classifier; only A is sent."""
    own = _own(received, client.memory)
    client = replace(client, correction=OfNames(client.correction, "A/"))  # what was received
    update = train_adapters(config, model, own, client, ("A", "B"))
    trained = update.upload.tensors
    shared = {name: tensor for name, tensor in trained.items() if name.startswith("A/")}
    kept = {name: tensor for name, tensor in trained.items() if name not in shared}
    return replace(update, upload=Payload(shared), memory=Payload(kept))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The mean of A, weighted by examples."""
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Without any client's B the model is the base."""


def personalize(config: Config, model: nn.Module, state: Payload, memory: Payload) -> None:
    """W <- W_0 + s B_c A, and the client's classifier."""
    merge_adapters(config, model, _own(state, memory))


METHOD = Method(
    name="fedsa_lora",
    title="FedSA-LoRA (A shared, B and classifier local)",
    paper="arXiv 2410.01463",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase_by(adapter_values),
    materialize=materialize,
    leaves_weights=True,
    personalize=personalize,
    reference=adapter_values,
    corrections=("fedprox",),
)
