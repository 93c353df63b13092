"""SpaFL: only thresholds travel, one for each output neuron; weights stay with their clients.

Kim, Saad, Choi, Chung, "SpaFL: Communication-Efficient Federated Learning with Sparse Models and
Low Computational Overhead", NeurIPS 2024, arXiv 2406.00431, Algorithm 1.

    m_i = 1[mean_j |W_ij| > tau_i]: a row of W is there or not, see `ops.threshold`
    client c:  tau_c from tau^t, W_c its own; local steps on both of
                   L(x; m W) + penalty sum_i exp(-tau_i)
               sends tau_c
    server:    tau^{t+1} = sum_c (n_c/n) tau_c ;  d = tau^{t+1} - tau^t
    everybody: W_ij <- W_ij - d_i sign(sum_j W_ij) / d_in

| symbol | name here | shape |
|---|---|---|
| W | "weight/layer" in the client's memory | (d_out, d_in) |
| tau | "tau/layer" | (d_out,) |
| d | "step/layer" in a state | (d_out,) |
| tau^t that W was last moved to | "seen/layer" in the memory | (d_out,) |

Up: 4 sum(d_out) bytes. Down: 8 sum(d_out), tau and d, for each round that the client lacks: as in
the paper d goes to all clients, and one that did not take part fetches it when it next does. No
classifier travels: it is the client's own, as W is.

Models are personal: a client's is m W with its own W. The global model is that of a client that
never took part: the base weights, moved by all d. So it is what a new client begins with; it is no
better than the base model, and nobody's.

Departures: thresholds stand at the Linear layers of a pretrained encoder, beside whose weights the
classifier trains; embeddings, norms and biases stay as they are. The step function is passed
straight through in the backward pass, as the paper says (the published code for CIFAR passes only
what lies far from the threshold). A client that comes back adds up the d it lacks before it moves
W: the same unless the sum of a row changes its sign on the way. The mean is weighted by examples,
not equal; `weighting: uniform` gives the paper's. A layer that would keep less than a hundredth of
its rows gets its thresholds back to 0 at the end of a round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layers import d_out_of, matrix_of
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import (
    Targets,
    copy_into,
    head_names,
    only_trainable,
    target_linears,
)
from fedkrso_core.ops.threshold import mask, shift, threshold_layers
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec

_FEWEST = 0.01


class Config(MethodConfig):
    """Options of SpaFL."""

    penalty: float = Field(
        2e-4, ge=0, description="Weight of sum exp(-tau), which drives thresholds up"
    )
    targets: Targets = Field(
        "all-linear", description="all-linear, or names that the pruned layers end with"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches, or for weights that are to be frozen."""
    target_linears(model, config.targets)
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; spafl trains those it prunes")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0 is empty: thresholds of 0, which prune nothing."""
    return Payload()


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """The thresholds of every layer."""
    layers = target_linears(model, config.targets)
    shapes = {f"tau/{name}": ("F32", (d_out_of(layer),)) for name, layer in layers.items()}
    return Expected(required=Group(tensors=shapes))


def _thresholds(layers: Mapping[str, nn.Module], state: Payload) -> dict[str, Tensor]:
    """tau of each layer; 0 before round 1."""
    known = state.under("tau/")
    return {n: known.get(n, torch.zeros(d_out_of(layer))) for n, layer in layers.items()}


def _put_own(
    layers: Mapping[str, nn.Module], model: nn.Module, memory: Payload, taus: Mapping[str, Tensor]
) -> None:
    """The client's own weights, moved by what thresholds did since, and its classifier."""
    copy_into(model, memory.under("dense/"))
    weights, seen = memory.under("weight/"), memory.under("seen/")
    for name in weights:
        w = matrix_of(layers[name])
        w.data.copy_(weights[name])
        shift(w.data, taus[name] - seen[name])


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on thresholds, the client's own weights and its classifier."""
    layers = target_linears(model, config.targets)
    taus = _thresholds(layers, received)
    _put_own(layers, model, client.memory, taus)
    names = [f"{name}.weight" for name in layers]
    parameters = only_trainable(model, names + head_names(model))
    head = {name: parameters[name] for name in head_names(model)}
    with threshold_layers(model, layers, taus) as wrapped:
        own = [layer.tau for layer in wrapped.values()]
        for tau in own:
            tau.register_hook(  # type: ignore[no-untyped-call]
                lambda g, t=tau: g - config.penalty * torch.exp(-t.detach())
            )
        body = [*own, *(parameters[name] for name in names)]
        metrics = fit(model, client, body, head.values())
        trained = {name: layer.tau.detach() for name, layer in wrapped.items()}
    kept = {name: mask(matrix_of(layers[name]), tau).mean() for name, tau in trained.items()}
    tensors = {
        f"tau/{name}": torch.where(kept[name] > _FEWEST, tau, torch.zeros_like(tau))
        for name, tau in trained.items()
    }
    # clones: the next client is trained in the same model
    memory = {f"weight/{n}": matrix_of(layer).detach().clone() for n, layer in layers.items()}
    memory |= {f"seen/{name}": tau for name, tau in taus.items()}
    memory |= {f"dense/{name}": p.detach().clone() for name, p in head.items()}
    return Update(Payload(tensors), client.num_examples, metrics, Payload(memory))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Mean thresholds, and how far they moved."""
    means = mean_of_uploads(updates)
    steps = {
        name.replace("tau/", "step/", 1): tau - state.tensors.get(name, torch.zeros_like(tau))
        for name, tau in means.items()
    }
    return Payload({**means, **steps})


def _values(config: Config, model: nn.Module, state: Payload) -> dict[str, Tensor]:
    """tau by its names in payloads."""
    thresholds = _thresholds(target_linears(model, config.targets), state)
    return {f"tau/{name}": tau for name, tau in thresholds.items()}


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Moves the weights of a client that never took part by one round's steps."""
    layers = target_linears(model, config.targets)
    for name, step in state.under("step/").items():
        shift(matrix_of(layers[name]).data, step)


def changes(config: Config, model: nn.Module) -> list[str]:
    """The weights of the targeted layers."""
    return [f"{layer}.weight" for layer in target_linears(model, config.targets)]


def personalize(config: Config, model: nn.Module, state: Payload, memory: Payload) -> None:
    """m W with the client's own W, and its classifier."""
    layers = target_linears(model, config.targets)
    taus = _thresholds(layers, state)
    if not memory.tensors:
        materialize(config, model, state)
    _put_own(layers, model, memory, taus)
    for name, layer in layers.items():
        w = matrix_of(layer).data
        w.mul_(mask(w, taus[name].to(w))[:, None])


METHOD = Method(
    name="spafl",
    title="SpaFL (thresholds travel, weights stay)",
    paper="arXiv 2406.00431",
    Config=Config,
    journal=True,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase_by(_values),
    materialize=materialize,
    personalize=personalize,
    changes=changes,
)
