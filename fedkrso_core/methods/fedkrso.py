"""FedKRSO: federated training in K random subspaces that both sides regenerate from seeds.

Yang, Wu, Guo, Sun, Gong, "FedKRSO", INFOCOM 2026, arXiv 2602.03019, Algorithms 1 and 2.

For each targeted W and subspace k: P_k = projection(s_k, layer), W trained as W + B P_k at B = 0.

    server:  draws K fresh seeds s_1..s_K for the round and sends them
    client:  each interval of J steps picks one k; per step
                 G_B = (dL/dY)^T (X P_k^T)          the dense gradient never exists
                 U   = direction of the optimizer for G_B (moments anew in each interval)
                 W  <- (1 - eta lambda) W - eta U P_k ;  all A_j <- (1 - eta lambda) A_j ;
                 A_k <- A_k - eta U ;  D <- (1 - eta lambda) D
             sends A_k for the k it used, D, and the dense parts
    server:  A_k = sum_c (n_c/n) A_k^c ;  D = sum_c (n_c/n) D_c
             W <- D W + [A_1 .. A_K] [P_1; ..; P_K]     one product (d_out, K r) x (K r, d_in)

| symbol | name here | shape |
|---|---|---|
| P_k | projection | (r, d_in) |
| B, A_k | b, "A/k/layer" | (d_out, r) |
| s_k | seeds of this round, "next" round's in the state | 63-bit integers |
| J, K, r | interval, seeds, rank | |
| eta, lambda | local.lr, local.weight_decay | |

Up: 4 r sum(d_out) bytes for each of the used seeds (at most min(K, ceil(steps / J))), and the
dense parts (classifier; with `train_norm_bias` also LayerNorm and biases). Down: K seeds and, for
each round that the client lacks, the mean A_k of the seeds that any client used, and the dense
parts.

Buffered rounds: an update that is s rounds late has accumulators along the seeds of its own round.
The state keeps them apart from the fresh ones, as A_{k + s K} with their seeds in "stale", so that
W changes by exactly the weighted mean of what the clients changed. Not with weight decay.

Server and clients end in the same weights: W is linear in the A_k, so the server's W is the mean
of the clients' W up to rounding. The paper does not model decoupled weight decay, which leaves the
span of the P_k; here the factor D carries it exactly. P is of signs unless `distribution` asks for
the paper's Gaussian numbers (the same E[P^T P] = I). The mean is weighted by examples.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update, shape_of
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import make_optimizer, mean_loss
from fedkrso_core.ops.layers import d_in_of, d_out_of, matrix_of
from fedkrso_core.ops.projection import Distribution
from fedkrso_core.ops.projection_numpy import checksum
from fedkrso_core.ops.rebase import rebased
from fedkrso_core.ops.reconstruct import reconstruct
from fedkrso_core.ops.subspace import subspace_layers
from fedkrso_core.ops.subspace_run import SubspaceRun
from fedkrso_core.ops.targets import (
    Targets,
    copy_into,
    head_names,
    norm_and_bias_names,
    only_trainable,
    target_linears,
)
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """Options of FedKRSO."""

    rank: int = Field(4, ge=1, description="r: rows of each projection")
    seeds: int = Field(10, ge=1, le=10_000, description="K: subspaces of a round")
    interval: int = Field(5, ge=1, description="J: local steps in one subspace")
    distribution: Distribution = Field(
        "sign", description="Entries of the projections: signs, or Gaussian numbers (the paper)"
    )
    targets: Targets = Field(
        "all-linear", description="all-linear, or names that the trained layers end with"
    )
    schedule: Literal["per-client", "shared"] = Field(
        "per-client",
        description="Subspaces are drawn by each client (the paper) or are the same for all, "
        "which makes the download smaller",
    )
    train_norm_bias: bool = Field(False, description="Train LayerNorm and biases too, densely")


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches, the rank is above a layer's size, or bf16 would lose."""
    target_linears(model, config.targets, config.rank)
    if config.train_norm_bias and "bf16-weights" in local.memory:
        raise MethodError(
            "bf16-weights freezes LayerNorm and biases; allowed with it: false", "train_norm_bias"
        )


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: nothing changed yet, and the seeds of round 1."""
    return Payload(scalars={"seed": seed, "round": 0, "next": _fresh_seeds(config, seed, 1)})


def _fresh_seeds(config: Config, seed: int, round_number: int) -> list[int]:
    """The K seeds of a round."""
    drawn = generator(seed, "subspaces", round_number).integers(0, 2**63, config.seeds)
    return [int(s) for s in drawn]


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """The dense parts, and for each seed all layers' accumulators or none."""
    layers = target_linears(model, config.targets, config.rank)
    parameters = dict(model.named_parameters())
    dense = {f"dense/{n}": shape_of(parameters[n]) for n in _dense_names(config, model)}
    groups = {}
    for k, seed in enumerate(state.scalars["next"]):
        shapes = {_name(k, n): ("F32", (d_out_of(m), config.rank)) for n, m in layers.items()}
        groups[str(k)] = Group(tensors=shapes, scalars={f"P/{k}": _checksum(config, layers, seed)})
    required = Group(tensors=dense, numbers={"decay": (0.0, 1.0)})
    return Expected(required=required, optional=groups)


def _name(k: int, layer: str) -> str:
    return f"A/{k}/{layer}"


def _dense_names(config: Config, model: nn.Module) -> list[str]:
    return head_names(model) + (norm_and_bias_names(model) if config.train_norm_bias else [])


def _checksum(config: Config, layers: dict[str, nn.Module], seed: int) -> str:
    sizes = {name: d_in_of(layer) for name, layer in layers.items()}
    return checksum(seed, sizes, config.rank, config.distribution)


def sends(config: Config, client: Client) -> Collection[str]:
    """The subspaces that the client will train in."""
    return {str(k) for k in _chosen(config, client)}


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps in the client's subspaces; the model ends in the client's own weights."""
    seeds = received.scalars["next"]
    layers = target_linears(model, config.targets, config.rank)
    dense = only_trainable(model, _dense_names(config, model))
    head = [dense[name] for name in head_names(model)]
    body = [dense[name] for name in _dense_names(config, model)[len(head) :]]
    with subspace_layers(model, layers, config.rank) as subspaces:
        client.correction.begin(dense)
        run = SubspaceRun(client, model, subspaces, make_optimizer(client.local, body, head))
        for k in _chosen(config, client):
            run.interval(k, seeds[k], config.interval, config.distribution)
    tensors: dict[str, Tensor] = {f"dense/{name}": p for name, p in dense.items()}
    for k, totals in run.used.items():
        tensors |= {_name(k, layer): total for layer, total in totals.items()}
    checks = {f"P/{k}": _checksum(config, layers, seeds[k]) for k in run.used}
    upload = Payload(tensors, {**checks, "decay": run.decay})
    return Update(upload, client.num_examples, mean_loss(run.losses, client))


def _chosen(config: Config, client: Client) -> Sequence[int]:
    """The subspace of each interval: ceil(steps / J) draws from the K, uniform."""
    who: tuple[int, ...] = () if config.schedule == "shared" else (client.id,)
    rng = generator(client.seed, "intervals", client.round, *who)
    count = math.ceil(client.local.steps / config.interval)
    return [int(k) for k in rng.integers(0, config.seeds, count)]


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """This round's entry of the journal: mean accumulators, mean decay, mean dense parts."""
    tensors = mean_of_uploads(updates, scalars=["decay"])
    decay_mean = float(tensors.pop("decay"))
    seed, number = state.scalars["seed"], state.scalars["round"] + 1
    scalars = {
        "seed": seed,
        "round": number,
        "seeds": state.scalars["next"],
        "decay": decay_mean,
        "next": _fresh_seeds(config, seed, number + 1),
    }
    if stale := _stale_seeds(config, seed, number, tensors):
        scalars["stale"] = stale
    return Payload(tensors, scalars)


def reference(config: Config, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """The dense parts. Accumulators are changes already, along seeds of their round alone."""
    parameters = {f"dense/{n}": p for n, p in model.named_parameters()}
    dense = {f"dense/{name}" for name in _dense_names(config, model)}
    return {name: state.tensors.get(name, parameters[name]) for name in dense}


def changes(config: Config, model: nn.Module) -> list[str]:
    """The weights of the targeted layers, and the dense parts."""
    layers = target_linears(model, config.targets)
    return [f"{layer}.weight" for layer in layers] + _dense_names(config, model)


def check_stale(config: Config, local: LocalSpec) -> None:
    """MethodError for weight decay: (D_c - 1) W of an old W lies in no span that is sent."""
    if local.weight_decay:
        raise MethodError(f"fedkrso with local.weight_decay {local.weight_decay:g}; allowed: 0")


def rebase(
    config: Config, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
) -> Update:
    """weight A_k under the number k + s K, s rounds late; the dense parts on top of those of now.

    What the client changed is sum_k A_k P_k with the P_k of its own round: exact in any later one.
    """
    first = config.seeds * (state.scalars["round"] - began.scalars["round"])
    upload, parameters = update.upload, dict(model.named_parameters())
    now, then = ({**parameters, **one.under("dense/")} for one in (state, began))
    dense = rebased(upload.under("dense/"), now, then, weight)
    tensors = {f"dense/{name}": value for name, value in dense.items()}
    for name, total in upload.under("A/").items():
        k, layer = name.split("/", 1)
        tensors[_name(first + int(k), layer)] = total * weight
    return replace(update, upload=replace(upload, tensors=tensors))


def _stale_seeds(config: Config, seed: int, number: int, tensors: Iterable[str]) -> dict[str, int]:
    """The seeds of earlier rounds that accumulators are along: k + s K is k of round number - s."""
    stale = {int(name.split("/")[1]) for name in tensors if name.startswith("A/")}
    return {
        str(k): _fresh_seeds(config, seed, number - k // config.seeds)[k % config.seeds]
        for k in sorted(stale)
        if k >= config.seeds
    }


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- D W + [A_1 .. A_K] [P_1; ..; P_K] for one round, and the dense parts."""
    copy_into(model, state.under("dense/"))
    accumulated = state.under("A/")
    if not accumulated:
        return
    layers = target_linears(model, config.targets, config.rank)
    reconstruct(
        {name: matrix_of(layer) for name, layer in layers.items()},
        accumulated,
        _seeds_of(state),
        config.rank,
        decay=state.scalars["decay"],
        distribution=config.distribution,
    )


def _seeds_of(state: Payload) -> dict[int, int]:
    """The seed of each number that an accumulator of the state may have."""
    stale = {int(k): seed for k, seed in state.scalars.get("stale", {}).items()}
    return dict(enumerate(state.scalars["seeds"])) | stale


METHOD = Method(
    name="fedkrso",
    title="FedKRSO (K random subspaces, shared seeds)",
    paper="arXiv 2602.03019",
    Config=Config,
    journal=True,
    init=init,
    check=check,
    expect=expect,
    sends=sends,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    rebase=rebase,
    check_stale=check_stale,
    corrections=("fedprox",),
    reference=reference,
    increments="A/",
    changes=changes,
)
