"""FedPepTAO: prefixes of chosen layers travel, the others stay; the server's step is adaptive.

Che, Liu, Zhou, Ren, Zhou, Sheng, Dai, Dou, "Federated Learning of Large Language Models with
Parameter-Efficient Prompt Tuning and Adaptive Optimization", EMNLP 2023, arXiv 2310.15080; the
server's step as in the authors' published code.

    round 1:   layer l's score on a batch without prefixes, of the hidden states H (n rows) entering
               it:  S = cosine similarities of the rows, lambda its eigenvalues + 1e-5,
               score = sum_i (log lambda_i + 1/lambda_i);  the `share` with the highest travel
    client i:  local steps on the prefixes of all layers: the chosen from the received w, the others
               its own;  c_i+ = c_i - c + (w - w_i) / (K eta);  sends w_i and c_i+, keeps the rest
    server:    g = sum_i (n_i/n) w_i ;  D = w - g ;  c+ = c + rate mean_i((w - w_i) / (K eta) - c)
               m = 0.9 v + 0.1 (D_before - D)
               v+ = m + c+ - sum_i (n_i/n) c_i+ ;  w+ = g - eta_s v+

| symbol | name here | shape |
|---|---|---|
| w, w_i | "prefix" | (L', v, 2, a, s) |
| c, c_i+; v; D | "c"; "v"; "delta" | as w |
| the chosen layers | "layers" | (L',), int64 |
| scores | "scores", in round 1 alone | (L,) |
| L, L'; v; a, s | layers, of them chosen; tokens; heads of the keys, their size | scalars |
| rate | participation: clients of a round of all | scalar |

Up: 16 L' v a s bytes, w_i and c_i+, and the classifier; 4 L in round 1. Down: 32 L' v a s and 8 L',
and the classifier; in round 1 nothing. The first round shares the last L' layers. As a mean of the
clients' models it is inexact, and not meant to be one: each client has its own. The global model
has, in layers that were not chosen, the prefix that everybody began with.

Controls, momentum and D count from round 2 on: what round 1 shares may be other layers. D_before
is there from round 3 on.

Departures: how many layers travel is the option `share`; the paper finds it from a spectrum of
Hessians, which costs more than the training here. The code's server remembers c_i of every client;
here clients do and send c_i+, which is as much again, because a server that forgets its clients can
be killed and go on. The classifier, which the paper replaces by words, is averaged. As in the code,
(w - w_i) / (K eta) is taken for a mean gradient though the client's optimizer is Adam.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import chain

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.attached import attach, attached
from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layer_scores import layer_scores
from fedkrso_core.ops.prefix import Prefix, check_prefix, shape_of_keys
from fedkrso_core.ops.prompts import PromptConfig, check_prompts, normal
from fedkrso_core.ops.targets import copy_into, head_names, head_shapes, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec

_MOMENTUM, _SLOWER, _SLOWEST = 0.9, 0.99, 1e-4


class Config(PromptConfig):
    """Options of FedPepTAO."""

    share: float = Field(0.5, gt=0, le=1, description="Share of the layers whose prefix travels")
    server_lr: float = Field(
        0.05, ge=0, description="eta_s in round 3, each later one's is 0.99 of it; 0: plain means"
    )
    participation: float = Field(
        1.0, gt=0, le=1, description="Clients of a round, as a share of all of them"
    )
    std: float = Field(
        0.1, gt=0, description="Standard deviation of the numbers that prefixes begin with"
    )


class _Layers(nn.Module):
    """Prefixes (L, v, 2, a, s) as `Prefix` takes them, (v, L 2 a s)."""

    def __init__(self, values: Tensor, trained: bool) -> None:
        super().__init__()
        self.values = nn.Parameter(values, requires_grad=trained)

    def forward(self) -> Tensor:
        """(v, L 2 a s)."""
        return self.values.transpose(0, 1).flatten(1)


def _count(config: Config, layers: int) -> int:
    return max(1, round(config.share * layers))


def _start(config: Config, seed: int, layers: int, heads: int, size: int) -> Tensor:
    """What all prefixes begin with (L, v, 2, a, s)."""
    return normal(
        seed, "fedpeptao", torch.Size((layers, config.tokens, 2, heads, size)), config.std
    )


def _whole(config: Config, model: nn.Module, state: Payload, memory: Payload) -> Tensor:
    """The prefixes of all layers: the client's own, under those of the state."""
    own = memory.tensors.get("prefix")
    if own is None:
        own = _start(config, state.scalars["seed"], *shape_of_keys(model))
    whole = own.detach().clone().to(next(model.parameters()).device)
    if "layers" not in state.tensors:
        return whole
    chosen = state.tensors["layers"].to(whole.device)
    return whole.index_copy(0, chosen, state.tensors["prefix"].to(whole))


def _travels(config: Config, state: Payload, layers: int) -> Tensor:
    """Numbers of the layers that are sent; before they are chosen the last ones."""
    first = torch.arange(layers - _count(config, layers), layers)
    return state.tensors.get("layers", first)


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if the virtual tokens do not fit, or the model takes no prefix."""
    check_prefix(model)
    check_prompts(config, model, local)


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed that prefixes are drawn from; and the shape of the model's keys."""
    layers, heads, size = shape_of_keys(model)
    return Payload(scalars={"seed": seed, "round": 0, "keys": [layers, heads, size]})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """Prefixes and controls of the chosen layers, the classifier; in round 1 scores."""
    layers, heads, size = shape_of_keys(model)
    sent = ("F32", (_count(config, layers), config.tokens, 2, heads, size))
    scores = Group(tensors={"scores": ("F32", (layers,))})
    return Expected(
        required=Group(
            tensors={"prefix": sent, "c": sent, **head_shapes(model)},
            numbers={"length": (1e-38, 1e12)},
        ),
        optional={"scores": scores},
    )


def sends(config: Config, client: Client) -> Collection[str]:
    """Scores, in round 1."""
    return ("scores",) if client.round == 1 else ()


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on the prefixes of all layers and the classifier."""
    copy_into(model, received.under("dense/"))
    head = only_trainable(model, head_names(model))
    batches = client.batches()
    scores, client = {}, replace(client, batches=lambda: batches)
    if client.round == 1:
        first = next(batches)
        scores = {"scores": layer_scores(model, first)}
        again = chain([first], batches)
        client = replace(client, batches=lambda: again)
    source = _Layers(_whole(config, model, received, client.memory), trained=True)
    named = {"prefix": source.values, **{f"dense/{n}": p for n, p in head.items()}}
    layers = _travels(config, received, len(source.values)).to(source.values.device)
    began = source.values.detach()[layers]
    with attached(model, Prefix(source, config.tokens)):
        metrics = fit(model, client, [source.values], head.values(), named)
    ended = source.values.detach()
    length = client.local.steps * client.local.lr
    c, memory = torch.zeros_like(began), {"prefix": ended}
    if client.round > 1:
        own = client.memory.tensors.get("c", c).to(c)
        c = own - received.tensors["c"].to(c) + (began - ended[layers]) / length
        memory["c"] = c
    tensors = {"prefix": ended[layers], "c": c, **scores}
    tensors |= {f"dense/{name}": p for name, p in head.items()}
    kept = Payload({name: tensor.cpu() for name, tensor in memory.items()})
    return Update(Payload(tensors, {"length": length}), client.num_examples, metrics, kept)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """Chooses layers in round 1; later the adaptive step from the mean."""
    sums, weight, count = dict[str, Tensor](), 0, 0
    drift: Tensor | None = None  # sum of the clients' mean gradients
    before = _before(config, state)
    for update in updates:
        own, n = update.upload.tensors, update.num_examples
        weight, count = weight + n, count + 1
        for name, tensor in own.items():
            sums[name] = sums[name] + n * tensor if name in sums else n * tensor
        gradient = (before.to(own["prefix"]) - own["prefix"]) / update.upload.scalars["length"]
        drift = gradient if drift is None else drift + gradient
    if drift is None:
        raise MethodError("there are no updates to aggregate")
    means = {name: total / weight for name, total in sums.items()}
    scalars = {**state.scalars, "round": state.scalars["round"] + 1}
    stepped = _chosen if state.scalars["round"] == 0 else _stepped
    own = stepped(config, state, before.to(means["prefix"]), means, drift / count)
    dense = {name: tensor for name, tensor in means.items() if name.startswith("dense/")}
    return Payload({**own, **dense}, scalars)


def _before(config: Config, state: Payload) -> Tensor:
    """w: what the clients of the round began with in the layers that they send."""
    if "prefix" in state.tensors:
        return state.tensors["prefix"]
    keys = state.scalars["keys"]
    whole = _start(config, state.scalars["seed"], *keys)
    return whole[_travels(config, state, keys[0])]


def _chosen(
    config: Config, state: Payload, before: Tensor, means: dict[str, Tensor], _: Tensor
) -> dict[str, Tensor]:
    """After round 1: the layers with the highest scores, with what is known of them."""
    keys = state.scalars["keys"]
    first = _travels(config, state, keys[0]).to(before.device)
    whole = _start(config, state.scalars["seed"], *keys).to(before)
    whole = whole.index_copy(0, first, means["prefix"])
    if "scores" in means:
        best = torch.topk(means["scores"], len(first)).indices
        layers = torch.sort(best).values.to(first)
    else:
        layers = first
    none = torch.zeros_like(before)
    own = {"layers": layers, "prefix": whole.index_select(0, layers)}
    return {**own, "c": none, "v": none.clone(), "delta": none.clone()}


def _stepped(
    config: Config, state: Payload, before: Tensor, means: dict[str, Tensor], gradient: Tensor
) -> dict[str, Tensor]:
    """The adaptive step; `gradient` is mean_i (w - w_i) / (K eta)."""
    old = {name: state.tensors[name].to(before) for name in ("c", "v", "delta")}
    number = state.scalars["round"] + 1
    mean, delta = means["prefix"], before - means["prefix"]
    c = old["c"] + config.participation * (gradient - old["c"])
    v = torch.zeros_like(mean)
    if number > 2:  # D of the round before is known
        moved = _MOMENTUM * old["v"] + (1 - _MOMENTUM) * (old["delta"] - delta)
        v = moved + c - means["c"]
    lr = config.server_lr and max(config.server_lr * _SLOWER ** (number - 3), _SLOWEST)
    return {"layers": state.tensors["layers"], "prefix": mean - lr * v, "c": c, "v": v,
            "delta": delta}  # fmt: skip


def _put(config: Config, model: nn.Module, state: Payload, memory: Payload) -> None:
    copy_into(model, state.under("dense/"))
    whole = _whole(config, model, state, memory)
    attach(model, Prefix(_Layers(whole, trained=False), config.tokens))


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Attaches the chosen layers' prefixes, and those of the start for the others."""
    if state.tensors:
        _put(config, model, state, Payload())


def personalize(config: Config, model: nn.Module, state: Payload, memory: Payload) -> None:
    """Attaches the chosen layers' prefixes, and the client's own for the others."""
    if state.tensors:
        _put(config, model, state, memory)


METHOD = Method(
    name="fedpeptao",
    title="FedPepTAO (prefixes of chosen layers, adaptive server)",
    paper="arXiv 2310.15080",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    sends=sends,
    varies=True,  # a state is made by index of whole tensors, which a forecast must have
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    leaves_weights=True,
    personalize=personalize,
    corrections=("fedprox",),
)
