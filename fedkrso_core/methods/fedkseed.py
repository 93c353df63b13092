"""FedKSeed: full fine-tuning by forward passes alone, one number for each of K shared seeds.

Qin, Chen, Qian, Ding, Li, Deng, "Federated Full-Parameter Tuning of Billion-Sized Language Models
with Communication Cost under 18 Kilobytes", ICML 2024, arXiv 2312.06353, Algorithm 1.

    server:    K candidate seeds s_1..s_K for the whole job, known to all from the job's seed
    client c:  for each step on a batch: k ~ p;  z = z(s_k)
                   g = (L(w + eps z) - L(w - eps z)) / (2 eps)
                   w <- w - eta g z ;  a_k <- a_k + eta g
               sends a
    server:    a = sum_c (n_c/n) a^c ;  w <- w - sum_k a_k z(s_k)
    uniform:   p_k = 1/K
    pro:       p = softmax((m - min m) / (max m - min m)), m_k = sum_h |g_h| / (1 + h_k) over all
               slopes g_h, cut at 1000, that any client ever saw along s_k

| symbol | name here | shape |
|---|---|---|
| w | every parameter | as in the model |
| z(s) | `Directions`, regenerated, never sent | as w |
| a | "a" | (K,) |
| sum |g|, h (pro) | "slopes", "draws" | (K,), (K,) |
| eps, K | epsilon, seeds | |
| eta | local.lr | |

Up: 4 K bytes; 12 K with `pro`. Down: as much, for each round that the client lacks.

The steps are those of SGD whatever `local.optimizer` says: a scalar for each seed can replay no
moments. Dropout is off, as in the published code. No gradient, no activation and no whole z is ever
held: the memory is that of inference. w is linear in a, so the server's w is the mean of the
clients' w up to rounding. Weight decay leaves the span of the z and is refused.

Departures: a carries the learning rate (the paper's code leaves it out and so needs a constant one
that the server knows), and a classifier with a `local.head_lr` of its own takes steps that are
head_lr / lr as long. What travels is the change of a round and not the sum of all, so that only
new directions are replayed and late clients fetch the rounds they lack. z is of signs unless
`distribution` asks for the paper's Gaussian numbers: the same E[z z^T] = I, about three times as
fast to draw, and w +- eps z loses next to nothing to rounding for the default epsilon, a power of
two. With `local.precision: bf16` losses are rounded more than they differ: take a larger epsilon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import lr_factor, mean_loss
from fedkrso_core.ops.perturbation import Directions
from fedkrso_core.ops.projection import Distribution
from fedkrso_core.ops.targets import head_names, only_trainable, parameter_names
from fedkrso_core.ops.zeroth_order import loss_of, slope
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import LocalSpec

_LARGEST_SLOPE = 1000.0
_HISTORY = ("slopes", "draws")


class Config(MethodConfig):
    """Options of FedKSeed."""

    seeds: int = Field(1024, ge=1, le=65_536, description="K: candidate seeds of the job")
    epsilon: float = Field(2**-11, gt=0, description="Half the distance of the two forward passes")
    pro: bool = Field(False, description="FedKSeed-Pro: draw seeds with steep slopes more often")
    distribution: Distribution = Field(
        "sign", description="Entries of the directions: signs, or Gaussian numbers (the paper)"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError for what scalars along seeds cannot replay."""
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; fedkseed moves them all")
    if local.weight_decay:
        raise MethodError(f"fedkseed with local.weight_decay {local.weight_decay:g}; allowed: 0")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the job's seed, of which the candidates come."""
    return Payload(scalars={"seed": seed, "head": 1.0})


def _candidates(config: Config, seed: int) -> list[int]:
    return [int(s) for s in generator(seed, "candidates").integers(0, 2**63, config.seeds)]


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """a, and with `pro` the history."""
    names = ("a", *(_HISTORY if config.pro else ()))
    tensors = dict.fromkeys(names, ("F32", (config.seeds,)))
    return Expected(required=Group(tensors=tensors, numbers={"head": (0.0, 1e9)}))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps along drawn seeds; the model ends in the client's own weights."""
    local, seeds = client.local, _candidates(config, client.seed)
    only_trainable(model, [])
    model.eval()
    head = (local.head_lr or local.lr) / local.lr
    body, classifier = _directions(config, model)
    run = _Run(config.seeds)
    drawn = iter(_drawn(config, received, client))
    for step, batch in enumerate(client.batches()):
        k = next(drawn)

        def move(amount: float, seed: int = seeds[k]) -> None:
            body.step(seed, amount)
            classifier.step(seed, amount)

        g, loss = slope(move, loss_of(model, batch, client), config.epsilon)
        change = lr_factor(local, step) * local.lr * g
        body.step(seeds[k], config.epsilon - change)
        classifier.step(seeds[k], config.epsilon - head * change)
        run.note(k, g, change, loss)
        client.on_step(step + 1)
    return Update(
        Payload(run.tensors(config.pro), {"head": head}),
        client.num_examples,
        mean_loss(run.losses, client),
    )


def _directions(config: Config, model: nn.Module) -> tuple[Directions, Directions]:
    """Of the encoder, and of the classifier, whose learning rate may be another."""
    parameters, names = dict(model.named_parameters()), set(head_names(model))
    parts: tuple[dict[str, Tensor], ...] = ({}, {})
    for name, parameter in parameters.items():
        parts[name in names][name] = parameter
    return Directions(parts[0], config.distribution), Directions(parts[1], config.distribution)


class _Run:
    """What a client accumulates: a_k, and for `pro` the slopes along each seed."""

    def __init__(self, seeds: int) -> None:
        self.a, self.slopes, self.draws = ([0.0] * seeds for _ in range(3))
        self.losses: list[Tensor] = []

    def note(self, k: int, g: float, change: float, loss: Tensor) -> None:
        self.a[k] += change
        self.slopes[k] += min(abs(g), _LARGEST_SLOPE)
        self.draws[k] += 1
        self.losses.append(loss)

    def tensors(self, pro: bool) -> dict[str, Tensor]:
        """What is uploaded."""
        history = {"slopes": self.slopes, "draws": self.draws} if pro else {}
        return {name: torch.tensor(v) for name, v in {"a": self.a, **history}.items()}


def _drawn(config: Config, received: Payload, client: Client) -> Iterator[int]:
    """The seed of each step."""
    rng = generator(client.seed, "directions", client.round, client.id)
    if "slopes" not in received.tensors:
        yield from map(int, rng.integers(0, config.seeds, client.local.steps))
        return
    upto = probabilities(received.tensors).cumsum(0)
    for u in rng.random(client.local.steps) * float(upto[-1]):
        yield min(int(torch.searchsorted(upto, float(u))), config.seeds - 1)


def probabilities(history: Mapping[str, Tensor]) -> Tensor:
    """p (K,) of FedKSeed-Pro, in float64."""
    mean = history["slopes"].double() / (1 + history["draws"].double())
    width = (mean.max() - mean.min()).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.softmax((mean - mean.min()) / width, 0)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The mean change of the round, and with `pro` the history with all that clients saw."""
    history = {name: state.tensors.get(name, torch.zeros(config.seeds)) for name in _HISTORY}
    means = mean_of_uploads(_noted(updates, history if config.pro else {}), scalars=["head"])
    head = float(means.pop("head"))
    return Payload(
        {**means, **(history if config.pro else {})}, {"seed": state.scalars["seed"], "head": head}
    )


def _noted(updates: Iterable[Update], history: dict[str, Tensor]) -> Iterator[Update]:
    """The updates without their history, which is added to the server's on the way."""
    for update in updates:
        for name, total in history.items():
            # a count below 0 would make everybody's mean infinite
            history[name] = total + update.upload.tensors[name].clamp_min(0)
        rest = {"a": update.upload.tensors["a"]}
        yield replace(update, upload=replace(update.upload, tensors=rest))


def rebase(
    config: Config, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
) -> Update:
    """weight a: the seeds are those of the whole job, so a change is the same in any round."""
    tensors = {**update.upload.tensors, "a": update.upload.tensors["a"] * weight}
    return replace(update, upload=replace(update.upload, tensors=tensors))


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """w <- w - sum_k a_k z(s_k) for one round."""
    if "a" not in state.tensors:
        return
    a = state.tensors["a"]
    used = np.flatnonzero(a.numpy()).tolist()
    seeds = _candidates(config, state.scalars["seed"])
    body, classifier = _directions(config, model)
    body.add([seeds[k] for k in used], -a[used])
    classifier.add([seeds[k] for k in used], -state.scalars["head"] * a[used])


METHOD = Method(
    name="fedkseed",
    title="FedKSeed (zeroth order, scalars along K shared seeds)",
    paper="arXiv 2312.06353",
    Config=Config,
    journal=True,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase,
    same_basis=True,
    materialize=materialize,
    changes=parameter_names,
)
