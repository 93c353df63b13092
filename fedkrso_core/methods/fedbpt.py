"""FedBPT: black-box prompt tuning, a search by forward passes alone in a random subspace.

Sun, Xu, Yin, Yang, Xu, Chen, Roth, "FedBPT: Efficient Federated Black-box Prompt Tuning for Large
Language Models", ICML 2024, arXiv 2310.01467.

    P = P_0 + scale_P A_P z,  h = h_0 + scale_h A_h z;  A_P (v d, k), A_h (|h|, k) of N(0, 1/k)
    client c:  CMA-ES from mean z and step size sigma, an iteration for each batch, lambda
               candidates in each, on the loss L(z), or on L(z) / L(z; x with random tokens)
               sends z_c, sigma_c and F_c, the loss at z_c on its last batch
    server:    z = sum_i u_i z_(i), z_(i) those of the lowest F first, u CMA-ES's weights
               sigma = root mean square of the better half's sigma_c

| symbol | name here | shape |
|---|---|---|
| z | "z" | (k,) |
| k, v, lambda | dimension, tokens, population | scalars |
| sigma, F | "sigma", in units of local.lr; "value" | (1,) |
| h | the classifier | as in the model |

Up: 4 k + 8 bytes, whatever the size of the model. Down: 4 k + 4, nothing before round 1. No
gradient is ever made. The server ranks its clients: the aggregation is inexact as a mean.

Departures: the classifier, which the paper replaces by words of a masked language model, is moved
through the same projection. `local.lr` is the step size of round 1 (the paper's is 1). CMA-ES's
covariance does not travel: of k = 500 numbers it learns about 2/k^2 = 1e-5 in an iteration, so that
it stays near I for any job of this length, and it would be k times as large as z. The paper's (6)
makes sigma grow by 2 sqrt(I / 2 lambda) in a round even if no client changes it, and its code
passes on a ratio instead: here sigma is what the clients' own adaptation left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.attached import attach, attached
from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.ops.black_box import better, projection, rank_weights, search, with_random_tokens
from fedkrso_core.ops.fit import forward, mean_loss
from fedkrso_core.ops.prompts import Fixed, PromptConfig, check_prompts
from fedkrso_core.ops.soft_prompt import SoftPrompt, embeddings_of, vocabulary_rows
from fedkrso_core.ops.targets import head_names, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import LocalSpec

_LARGEST = 1e6  # of a step size: nobody may send everybody to infinity


class Config(PromptConfig):
    """Options of FedBPT."""

    dimension: int = Field(500, ge=2, le=10_000, description="k: numbers that are searched")
    population: int = Field(
        5, ge=4, le=1000, description="lambda: candidates that a step compares on its batch"
    )
    perturb: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the tokens that are random in the text that a loss is divided by; "
        "0: not divided",
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if the virtual tokens do not fit, or for a decay of what has no gradient."""
    check_prompts(config, model, local)
    if local.weight_decay:
        raise MethodError(f"fedbpt with local.weight_decay {local.weight_decay:g}; allowed: 0")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: the seed of the projection; z is 0."""
    return Payload(scalars={"seed": seed})


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """z, its loss, and the step size."""
    shapes = {"z": (config.dimension,), "value": (1,), "sigma": (1,)}
    return Expected(required=Group(tensors={name: ("F32", s) for name, s in shapes.items()}))


class _Black:
    """A model seen through z: puts P and the classifier of a z in."""

    def __init__(self, config: Config, model: nn.Module, seed: int) -> None:
        rows, parameters = embeddings_of(model), dict(model.named_parameters())
        self.prompt = Fixed(vocabulary_rows(model, seed, config.tokens))
        parts = [("prompt", self.prompt.values)]
        parts += [(f"head/{name}", parameters[name]) for name in head_names(model)]
        self._moved: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        for name, own in parts:
            scale = own.detach().std() if own.dim() > 1 else rows.detach().float().std()
            matrix = projection(seed, name, own.numel(), config.dimension).to(own.device)
            self._moved.append((own, own.detach().clone(), scale * matrix))

    @torch.no_grad()
    def put(self, z: Tensor) -> None:
        """P = P_0 + A_P z in `prompt`, and the classifier."""
        for own, base, matrix in self._moved:
            own.copy_(base + (matrix @ z.to(matrix)).view_as(base))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """A search that goes on from the received z."""
    local, black = client.local, _Black(config, model, received.scalars["seed"])
    only_trainable(model, [])
    model.eval()
    losses: list[Tensor] = []
    rng = generator(client.seed, "black-box", client.round, client.id)

    def value(z: np.ndarray, batch: dict[str, Tensor], other: dict[str, Tensor] | None) -> float:
        black.put(torch.from_numpy(z).float())
        losses.append(forward(model, batch, local))
        against = 1.0 if other is None else float(forward(model, other, local))
        return float(losses[-1]) / max(against, 1e-12)

    def told() -> Any:
        for step, batch in enumerate(client.batches(), 1):
            other = with_random_tokens(batch, config.perturb, model, rng)
            yield lambda z, batch=batch, other=other: value(z, batch, other)
            client.on_step(step)

    mean, sigma = _start(config, received)
    with attached(model, SoftPrompt(black.prompt, config.tokens)):
        found = search(mean, local.lr * sigma, config.population, rng, told())
    tensors = {
        "z": torch.from_numpy(found.mean).float(),
        "value": torch.tensor([found.value]),
        "sigma": torch.tensor([found.sigma / local.lr]),
    }
    return Update(Payload(tensors), client.num_examples, mean_loss(losses, client))


def _start(config: Config, received: Payload) -> tuple[np.ndarray, float]:
    """Mean and step size."""
    if "z" not in received.tensors:
        return np.zeros(config.dimension), 1.0
    # number by number: a forecast has a z without values
    z = np.array([float(number) for number in received.tensors["z"]])
    return z, float(received.tensors["sigma"])


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The better clients' z by their ranks, and their step size."""
    uploads = [update.upload.tensors for update in updates]
    ranked = sorted(uploads, key=lambda own: float(own["value"]))
    if not ranked:
        raise MethodError("there are no updates to aggregate")
    weights = rank_weights(len(ranked))
    z = torch.stack([w * own["z"] for w, own in zip(weights, ranked, strict=False)]).sum(0)
    squares = torch.stack([own["sigma"] ** 2 for own in better(ranked)])
    sigma = squares.mean(0).sqrt().clamp(max=_LARGEST)
    return Payload({"z": z, "sigma": sigma}, {"seed": state.scalars["seed"]})


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Attaches P, and moves the classifier."""
    if "z" not in state.tensors:
        return
    black = _Black(config, model, state.scalars["seed"])
    black.put(state.tensors["z"])
    attach(model, SoftPrompt(black.prompt, config.tokens))


METHOD = Method(
    name="fedbpt",
    title="FedBPT (black-box search for a soft prompt)",
    paper="arXiv 2310.01467",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    leaves_weights=True,
)
