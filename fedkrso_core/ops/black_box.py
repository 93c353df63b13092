"""Search without gradients: CMA-ES of the package `cma`, random projections, ranks of clients.

Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fedkrso_core.seeds import generator

T = TypeVar("T")
Function = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Found:
    """Where a search ended: mean (k,), step size, and the last function's value at the mean."""

    mean: np.ndarray
    sigma: float
    value: float


def search(
    mean: np.ndarray,
    sigma: float,
    population: int,
    rng: np.random.Generator,
    functions: Iterable[Function],
) -> Found:
    """CMA-ES from (mean, sigma), an iteration for each function; `rng` makes the candidates.

    The function may be another in each iteration, such as the loss of another batch. The value at
    the mean is asked of each before its candidates; what it was last, or after the last function,
    is a loss of the data and not of one lucky candidate.
    """
    options = {"popsize": population, "seed": np.nan, "verbose": -9, "verb_log": 0,
               "randn": lambda *shape: rng.standard_normal(shape), "tolx": 0}  # fmt: skip
    found = Found(mean, sigma, np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing plots, and of candidates that are the mean
        import cma

        strategy = cma.CMAEvolutionStrategy(mean, sigma, options)
        for function in functions:
            candidates = strategy.ask()
            strategy.tell(candidates, [function(z) for z in candidates])
            found = Found(strategy.mean.copy(), float(strategy.sigma), function(strategy.mean))
    return found


def rank_weights(clients: int) -> list[float]:
    """CMA-ES's weights of the better half, the best first; they add up to 1."""
    logs = [np.log((clients + 1) / 2) - np.log(i) for i in range(1, clients + 1)]
    positive = [weight for weight in logs if weight > 1e-12] or [1.0]
    return [float(weight / sum(positive)) for weight in positive]


def better(ranked: Sequence[T]) -> Sequence[T]:
    """The better half, at least one."""
    return ranked[: max(1, len(ranked) // 2)]


def projection(seed: int, part: str, rows: int, dimension: int) -> Tensor:
    """A (rows, dimension) of N(0, 1/dimension), the same for everybody."""
    drawn = generator(seed, "projection", part).standard_normal((rows, dimension), np.float32)
    return torch.from_numpy(drawn / np.float32(np.sqrt(dimension)))


def with_random_tokens(
    batch: dict[str, Tensor], share: float, model: Any, rng: np.random.Generator
) -> dict[str, Tensor] | None:
    """The batch with this share of its tokens drawn from the vocabulary; None for a share of 0.

    The first token of a text stays, which encoders classify at.
    """
    if not share:
        return None
    ids = batch["input_ids"]
    chosen = torch.from_numpy(rng.random(tuple(ids.shape)) < share).to(ids.device)
    chosen[:, 0] = False
    drawn = torch.from_numpy(rng.integers(0, model.config.vocab_size, tuple(ids.shape)))
    real = chosen & (batch["attention_mask"] > 0)
    return {**batch, "input_ids": torch.where(real, drawn.to(ids), ids)}
