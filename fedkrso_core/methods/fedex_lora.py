"""FedEx-LoRA: the factors are averaged, and what that gets wrong is added to the weights.

Singhal, Ponkshe, Vepakomma, "FedEx-LoRA: Exact Aggregation for Federated and Efficient
Fine-Tuning of Foundation Models", ACL 2025, arXiv 2410.09432.

    client c:  W_c = W^t + s B_c A_c, local steps on A_c and B_c from B^t, A^t
    server:    A = sum_c p_c A_c,  B = sum_c p_c B_c,  p_c = n_c / n
               R = sum_c p_c B_c A_c - B A
               W^{t+1} = W^t + s R,  and B, A go on: W^{t+1} + s B A = W^t + sum_c p_c s B_c A_c

| symbol | name here | shape |
|---|---|---|
| A_c, B_c; A, B | "A/layer", "B/layer" | (r, d_in), (d_out, r) |
| A^t, B^t of the round before | "was/A/layer", "was/B/layer" | as A, B |
| R = R_B R_A | "R/B/layer", "R/A/layer" | (d_out, (n-1) r), ((n-1) r, d_in) |
| s | alpha / rank | scalar |

R is sent as factors. Since sum_c p_c (B_c - B) = 0, any A' may be taken off the other side:

    R = sum_c p_c (B_c - B) (A_c - A_n)        the last client's term is zero: rank (n-1) r

Up: 4 r (d_in + d_out) bytes for each layer, and the classifier. Down: 4 (n + 1) r (d_in + d_out)
(4 n r after round 1), which grows with the clients of a round, of each round that the client lacks,
and the classifier; nothing before round 1. The mean of the updates is exact.

Departures: the model of a round is that with the adapter merged, so a state also has the adapter of
the round before, to take it out again.

No buffered rounds: a stale client's own change s (B_c A_c - B^t A^t) is along factors that the
mean of now knows nothing of, so it would not be one pair (A, B).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.adapters import (
    LoraConfig,
    expect_adapters,
    fit_adapters,
    head_values,
    starting_adapters,
)
from fedkrso_core.ops.lora import merge
from fedkrso_core.ops.ranks import sent_by
from fedkrso_core.ops.targets import copy_into, target_and_head_names, target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(LoraConfig):
    """Options of FedEx-LoRA."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or the rank is above a layer's size."""
    target_linears(model, config.targets, config.rank)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that A is drawn from."""
    return Payload(scalars={"seed": seed})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """A and B of every layer, and the classifier."""
    return expect_adapters(config, model, ("A", "B"))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Takes the adapter out of the model's weights, and trains it and the classifier."""
    adapters = starting_adapters(config, model, received)
    for name, (a, b) in adapters.items():
        merge(model.get_submodule(name), a, b, -config.scale)
    return fit_adapters(model, adapters, config.scale, client)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The mean factors, the residual's factors, the factors of before, the mean classifier."""
    sent = sent_by(updates)
    tensors = dict(sent.dense)
    for layer, a in sent.a.items():
        tensors |= _layer(layer, a, sent.b[layer], sent.weights)
    factors = {n: t for n, t in state.tensors.items() if n.startswith(("A/", "B/"))}
    tensors |= {f"was/{name}": tensor for name, tensor in factors.items()}
    return Payload(tensors, {"seed": state.scalars["seed"]})


def _layer(layer: str, a: list[Tensor], b: list[Tensor], weights: list[float]) -> dict[str, Tensor]:
    a_mean = torch.stack([one * p for one, p in zip(a, weights, strict=True)]).sum(0)
    b_mean = torch.stack([one * p for one, p in zip(b, weights, strict=True)]).sum(0)
    found = {f"A/{layer}": a_mean, f"B/{layer}": b_mean}
    if len(a) > 1:
        left = [(one - b_mean) * p for one, p in zip(b, weights, strict=True)]
        found[f"R/B/{layer}"] = torch.cat(left[:-1], dim=1)
        found[f"R/A/{layer}"] = torch.cat([one - a[-1] for one in a[:-1]])
    return found


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """W <- W + s (R + B A - B^t A^t) of one round, and the classifier."""
    copy_into(model, state.under("dense/"))
    for prefix, scale in (("was/", -config.scale), ("R/", config.scale), ("", config.scale)):
        for layer, a in state.under(f"{prefix}A/").items():
            merge(model.get_submodule(layer), a, state.tensors[f"{prefix}B/{layer}"], scale)


METHOD = Method(
    name="fedex_lora",
    title="FedEx-LoRA (means and their residual)",
    paper="arXiv 2410.09432",
    Config=Config,
    journal=True,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    varies=True,
    corrections=("fedprox",),
    reference=head_values,
    changes=target_and_head_names,
)
