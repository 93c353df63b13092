"""Ferret: local updates of all parameters, block by block as coordinates along shared seeds.

Shu, Hu, Ng, Low, Yu, "Ferret: Federated Full-Parameter Tuning at Scale for Large Language Models",
ICML 2025, arXiv 2409.06277, Algorithm 1.

    client c:  local steps from w;  Delta = w before - w after, for each block l
                   gamma_lk = z_lk^T Delta_l / K_l                         k = 1..K_l
               sends gamma
    server:    gamma = sum_c (n_c/n) gamma^c ;  w_l <- w_l - sum_k gamma_lk z_lk

| symbol | name here | shape |
|---|---|---|
| w_l, Delta_l | a parameter, its change | as in the model, d_l numbers |
| z_lk | `Directions` of seed s_k, regenerated, never sent | as w_l |
| gamma | "gamma": the blocks in the model's order | (M,), M = sum_l K_l |
| K, K_l | seeds, `sizes`: max(2, round(K sqrt(d_l / max d))) | |

Up: 4 M bytes. Down: 4 M for each round that the client lacks.

E[z z^T] = I, so E[sum_k gamma_lk z_lk] = Delta_l: what is rebuilt is an unbiased estimate
(Theorem 1), whose error falls as d_l / K_l (Theorem 2). The server's estimate is linear in gamma:
it is that of the clients' mean change.

Departures. The paper's v are normal, cut off at 1/sqrt(d), and gamma is divided by their variance
rho ~ 1/(3 d) (the published code leaves out the 3 and mends it by its server's learning rate);
here z has variance 1 and the same expectation, and signs have the smallest error of all directions
with independent entries. All clients of a round share its seeds, as in the published code: K
rebuilds instead of K for each client; but the seeds are fresh in each round, so that the errors of
rounds are independent. K_l goes with sqrt(d_l), which ||Delta_l|| does where all numbers move
alike, as with Adam, and not with the client's own ||Delta_l|| (Proposition 2): all clients send the
same coordinates, and the bytes are known before. A block is one parameter of the model.

Memory is that of full fine-tuning and one more copy of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.perturbation import Directions
from fedkrso_core.ops.projection import Distribution
from fedkrso_core.ops.targets import head_names, only_trainable, parameter_names
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import LocalSpec

_GROUP = "gamma"


class Config(MethodConfig):
    """Options of Ferret."""

    seeds: int = Field(256, ge=2, le=65_536, description="K: coordinates of the largest block")
    distribution: Distribution = Field(
        "sign", description="Entries of the directions: signs, or Gaussian numbers"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """Any model will do; MethodError for weights that are to be frozen."""
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; ferret trains them all")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the job's seed, of which those of every round come."""
    return Payload(scalars={"seed": seed, "round": 0})


def _seeds(config: Config, seed: int, number: int) -> list[int]:
    """s_1..s_K of a round."""
    drawn = generator(seed, "coordinates", number).integers(0, 2**63, config.seeds)
    return [int(s) for s in drawn]


def sizes(config: Config, model: nn.Module) -> dict[str, int]:
    """K_l of each block."""
    counts = {name: p.numel() for name, p in model.named_parameters()}
    largest = max(counts.values())
    return {n: max(2, round(config.seeds * math.sqrt(d / largest))) for n, d in counts.items()}


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """gamma, under the name that no other round's has."""
    shape = ("F32", (sum(sizes(config, model).values()),))
    return Expected(optional={_GROUP: Group(tensors={"gamma/0": shape})})


def sends(config: Config, client: Client) -> Collection[str]:
    """Every client sends its coordinates."""
    return (_GROUP,)


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on every parameter; uploads the coordinates of what they changed."""
    parameters = only_trainable(model, [name for name, _ in model.named_parameters()])
    before = {name: p.detach().clone() for name, p in parameters.items()}
    head = {name: parameters[name] for name in head_names(model)}
    body = [p for name, p in parameters.items() if name not in head]
    metrics = fit(model, client, body, head.values(), parameters)
    changes = {name: before.pop(name).sub_(p.detach()) for name, p in parameters.items()}
    gamma = project(
        config, changes, sizes(config, model), _seeds(config, client.seed, client.round)
    )
    return Update(Payload({"gamma/0": gamma}), client.num_examples, metrics)


def project(
    config: Config, changes: Mapping[str, Tensor], counts: Mapping[str, int], seeds: list[int]
) -> Tensor:
    """gamma (M,) of the changes."""
    return torch.cat(
        [
            Directions({name: change}, config.distribution)
            .coordinates(seeds[: counts[name]])
            .div_(counts[name])
            for name, change in changes.items()
        ]
    )


def rebuild(
    config: Config, blocks: Mapping[str, Tensor], counts: Mapping[str, int], seeds: list[int],
    gamma: Tensor,
) -> None:  # fmt: skip
    """w_l <- w_l - sum_k gamma_lk z_lk, in place."""
    parts = torch.split(gamma, [counts[name] for name in blocks])
    for (name, block), part in zip(blocks.items(), parts, strict=True):
        Directions({name: block}, config.distribution).add(seeds[: counts[name]], -part)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The mean coordinates; those of clients that are s rounds late stay apart as gamma/s."""
    number = state.scalars["round"] + 1
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"], "round": number})


def rebase(
    config: Config, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
) -> Update:
    """weight gamma as gamma/s, s rounds late: along the seeds of its own round, and so exact."""
    late = state.scalars["round"] - began.scalars["round"]
    gamma = update.upload.tensors["gamma/0"] * weight
    return replace(update, upload=replace(update.upload, tensors={f"gamma/{late}": gamma}))


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """w_l <- w_l - sum_k gamma_lk z_lk for one round."""
    blocks, counts = dict(model.named_parameters()), sizes(config, model)
    for late, gamma in sorted(state.under("gamma/").items()):
        seeds = _seeds(config, state.scalars["seed"], state.scalars["round"] - int(late))
        rebuild(config, blocks, counts, seeds, gamma)


METHOD = Method(
    name="ferret",
    title="Ferret (local updates as coordinates along shared seeds)",
    paper="arXiv 2409.06277",
    Config=Config,
    journal=True,
    init=init,
    check=check,
    expect=expect,
    sends=sends,
    train=train,
    aggregate=aggregate,
    rebase=rebase,
    materialize=materialize,
    corrections=("fedprox",),
    changes=parameter_names,
)
