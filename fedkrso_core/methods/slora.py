"""SLoRA: some rounds of sparse fine-tuning find where LoRA starts.

Babakniya, Elkordy, Ezzeldin, Liu, Song, El-Khamy, Avestimehr, "SLoRA: Federated Parameter
Efficient Fine-Tuning of Language Models", FL@FM-NeurIPS 2023, arXiv 2308.06522.

    rounds 1..R_1:  client c trains V_c = the changes of W at the entries M, the same for all
                    V = sum_c (n_c/n) V_c                                  (exact)
    then, once:     dW = V at M, 0 elsewhere = U S V^T;  B = U_r S_r / s,  A = V_r^T
    rounds after:   LoRA from W_0 with (A, B), both averaged               (inexact, as FedIT)

| symbol | name here | shape |
|---|---|---|
| M | `sparse_entries`(seed, layer), never sent | density of the entries of W |
| V | "V/layer" | (round(density d_out d_in),) |
| A, B | "A/layer", "B/layer" | (r, d_in), (d_out, r) |
| s | alpha / rank | scalar |

Up and down: 4 density d_out d_in bytes for each layer in the first R_1 rounds, 4 r (d_in + d_out)
in those after (the download of round R_1 + 1 is already that), and the classifier; down nothing
before round 1. Which entries M has follows from the job's seed, so no indices travel.

Departures: the paper's text was not at hand; stage 1, the decomposition and the restart from W_0
are as a public third-party implementation has them, which draws another mask for each client; here
all have one, without which the values could not be averaged. The number of sparse rounds is an
option. The decomposition is of the one mean dW of a layer, on the server, through the eigenvectors
of the smaller of dW dW^T and dW^T dW.

No buffered rounds: an update of the sparse stage has no place in the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.adapters import LoraConfig, expect_adapters, merge_adapters, train_adapters
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layers import d_in_of, d_out_of
from fedkrso_core.ops.sparse import (
    add_entries,
    leading_factors,
    number_of_entries,
    sparse_entries,
    trained_entries,
)
from fedkrso_core.ops.targets import (
    copy_into,
    head_names,
    head_shapes,
    only_trainable,
    target_linears,
)
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(LoraConfig):
    """Options of SLoRA."""

    sparse_rounds: int = Field(3, ge=1, description="R_1: rounds of sparse training before LoRA")
    density: float = Field(
        0.01, gt=0, le=1, description="Share of the entries of W that the sparse rounds train"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches, the rank does not fit, or the weights are to be frozen."""
    target_linears(model, config.targets, config.rank)
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; slora trains some of them")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed of the mask, and the sizes that the server needs for the decomposition."""
    layers = target_linears(model, config.targets, config.rank)
    sizes = {name: [d_out_of(layer), d_in_of(layer)] for name, layer in layers.items()}
    return Payload(scalars={"seed": seed, "round": 0, "sizes": sizes})


def _is_sparse(config: Config, state: Payload) -> bool:
    """Whether the round after this state is of the sparse stage."""
    return bool(state.scalars["round"] < config.sparse_rounds)


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """The trained entries of every layer, or A and B; and the classifier."""
    if not _is_sparse(config, state):
        return expect_adapters(config, model, ("A", "B"))
    layers = target_linears(model, config.targets, config.rank)
    values = {
        f"V/{name}": ("F32", (number_of_entries(config.density, d_out_of(m), d_in_of(m)),))
        for name, m in layers.items()
    }
    return Expected(required=Group(tensors=values | head_shapes(model)))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on the entries of the mask, or on A and B; and on the classifier."""
    if not _is_sparse(config, received):
        return train_adapters(config, model, received, client, ("A", "B"))
    copy_into(model, received.under("dense/"))
    head = only_trainable(model, head_names(model))
    with trained_entries(model, _entries(config, model, received), received.under("V/")) as sparse:
        named: dict[str, Any] = {f"V/{name}": v for name, v in sparse.values.items()}
        named |= {f"dense/{name}": p for name, p in head.items()}
        body, heads = sparse.values.values(), head.values()
        metrics = fit(model, sparse.written(client), body, heads, named)
    return Update(Payload(dict(named)), client.num_examples, metrics)


def _entries(config: Config, model: nn.Module, state: Payload) -> dict[str, Tensor]:
    """M of each layer: places in the flattened W (d_out, d_in)."""
    return {
        name: sparse_entries(state.scalars["seed"], name, config.density, d_out_of(m), d_in_of(m))
        for name, m in target_linears(model, config.targets, config.rank).items()
    }


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Means; after the last sparse round the adapter that comes closest to what was learnt."""
    tensors, number = mean_of_uploads(updates), state.scalars["round"] + 1
    scalars = {"seed": state.scalars["seed"], "round": number}
    if number < config.sparse_rounds:
        return Payload(tensors, scalars | {"sizes": state.scalars["sizes"]})
    if number > config.sparse_rounds:
        return Payload(tensors, scalars)
    found = {name: tensor for name, tensor in tensors.items() if name.startswith("dense/")}
    for name, size in state.scalars["sizes"].items():
        found |= _adapter(config, scalars["seed"], name, size, tensors[f"V/{name}"])
    return Payload(found, scalars)


def _adapter(config: Config, seed: int, name: str, size: Any, values: Tensor) -> dict[str, Tensor]:
    places = sparse_entries(seed, name, config.density, *size).to(values.device)
    dense = values.new_zeros(size[0] * size[1]).index_copy(0, places, values).view(*size)
    b, a = leading_factors(dense, config.rank)
    return {f"A/{name}": a, f"B/{name}": b / config.scale}


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W_0 + V at M, or W_0 + s B A; and the classifier."""
    if sparse := state.under("V/"):
        copy_into(model, state.under("dense/"))
        add_entries(model, _entries(config, model, state), sparse)
    else:
        merge_adapters(config, model, state)


METHOD = Method(
    name="slora",
    title="SLoRA (sparse rounds, then LoRA)",
    paper="arXiv 2308.06522",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    varies=True,
    corrections=("fedprox",),
)
