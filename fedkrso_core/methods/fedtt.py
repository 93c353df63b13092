"""FedTT: adapters whose matrices are tensor trains; every core is averaged.

Ghiasvand, Yang, Xue, Alizadeh, Zhang, Pedarsani, "Communication-Efficient and Tensorized Federated
Fine-Tuning of Large Language Models", Findings of ACL 2025, arXiv 2410.13097.

    client c:  W_c = W_0 + s TT(G_1,c .. G_J,c), local steps on all cores from the received ones
    server:    G_j = sum_c (n_c/n) G_j,c for each j

| symbol | name here | shape |
|---|---|---|
| G_j, j = 1..J, J = 2 m | "G/j/layer" | (r_{j-1}, n_j, r_j), r_0 = r_J = 1, else r |
| n_1 .. n_m, n_{m+1} .. n_J | `modes_of` d_out and d_in | product d_out, d_in |
| s, m | scale, modes | scalars |

Up and down: 4 sum_j r_{j-1} n_j r_j bytes for each layer, and the classifier; down nothing before
round 1: the cores come from the job's seed. TT(..) is linear in each core but not in all of them
together, so the mean of cores is inexact.

Departures: the paper puts a bottleneck of two tensorised matrices with an activation between them
after attention and after the MLP of each block. Here the tensor train is a change of the weights
of the adapted layers, without an activation: it can be merged, so that the trained model is one of
transformers like that of every other method, and the exactness of FedTT+ is that of the model
itself. Rows and columns are cut between two cores, never interleaved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import target_linears
from fedkrso_core.ops.tt_adapters import (
    TensorTrainConfig,
    cores_of,
    expect_cores,
    merge_cores,
    train_cores,
)
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(TensorTrainConfig):
    """Options of FedTT."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that the cores are drawn from."""
    return Payload(scalars={"seed": seed})


def _all(config: Config) -> range:
    return range(1, config.cores + 1)


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """All cores of every layer, and the classifier."""
    return expect_cores(config, model, _all(config))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on all cores and the classifier."""
    return train_cores(config, model, received, client, _all(config))


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means of each core and the classifier, weighted by examples."""
    return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})


def _values(config: Config, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """Cores and classifier as a client receives them."""
    head = {f"dense/{name}": p for name, p in model.named_parameters()}
    start = cores_of(config, model, Payload(scalars=state.scalars))
    cores = {f"G/{j}/{name}": g for name, own in start.items() for j, g in enumerate(own, 1)}
    return {**head, **cores, **state.tensors}


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + s TT(G_1 .. G_J), and the classifier."""
    merge_cores(config, model, state)


METHOD = Method(
    name="fedtt",
    title="FedTT (tensor-train adapters)",
    paper="arXiv 2410.13097",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase_by(_values),
    materialize=materialize,
    leaves_weights=True,
    corrections=("fedprox",),
)
