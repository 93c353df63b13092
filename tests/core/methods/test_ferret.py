"""Ferret (arXiv 2409.06277): changes as coordinates along shared seeds, unbiased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fedkrso_core.methods import ferret
from fedkrso_core.ops.projection import projection
from fedkrso_core.payload import decode, encode

Make = Callable[..., Any]


def rebuilt(change: torch.Tensor, seeds: list[int], count: int) -> torch.Tensor:
    """The estimate of a change, by projecting and rebuilding it."""
    config, blocks = ferret.Config(), {"w": torch.zeros_like(change)}
    gamma = ferret.project(config, {"w": change.clone()}, {"w": count}, seeds)
    ferret.rebuild(config, blocks, {"w": count}, seeds, -gamma)
    return blocks["w"]


def test_coordinates_and_estimate_are_those_of_the_equations() -> None:
    change = torch.arange(12.0).view(3, 4)
    seeds = [4, 5]
    z = torch.cat([projection(s, "w/0", 1, 12) for s in seeds])  # (2, 12)
    expected = (z.T @ (z @ change.view(-1) / 2)).view(3, 4)
    assert torch.allclose(rebuilt(change, seeds, 2), expected, atol=1e-5)


def test_the_reconstruction_is_unbiased_over_seeds() -> None:
    torch.manual_seed(0)
    change, draws = torch.randn(3, 4), 400
    mean = sum(rebuilt(change, list(range(8 * i, 8 * i + 8)), 8) for i in range(draws)) / draws
    # each number's error has a standard deviation of |change| / sqrt(8 draws)
    assert (mean - change).abs().max() < 4 * change.norm() / (8 * draws) ** 0.5


def test_more_seeds_come_nearer() -> None:
    """Theorem 2: the squared error is about d / K of the change's square."""
    torch.manual_seed(0)
    change = torch.randn(10, 10)
    for count in (50, 800):
        sets = [list(range(first, first + count)) for first in range(0, 10 * count, count)]
        errors = [(rebuilt(change, seeds, count) - change).square().sum() for seeds in sets]
        assert 0.7 < sum(errors) / 10 / (change.square().sum() * 99 / count) < 1.4


def test_blocks_share_the_seeds_in_proportion_to_the_root_of_their_size(federation: Make) -> None:
    fed = federation(method={"name": "ferret", "seeds": 64})
    counts = ferret.sizes(fed.config, fed.model)
    assert max(counts.values()) == 64
    embeddings = counts["bert.embeddings.word_embeddings.weight"]  # 100 x 32
    query = counts["bert.encoder.layer.0.attention.self.query.weight"]  # 32 x 32
    assert (embeddings, query) == (64, round(64 * (1024 / 3200) ** 0.5))
    assert counts["classifier.bias"] == 2


def test_the_global_model_moves_by_the_estimate_of_the_mean_change(federation: Make) -> None:
    fed = federation(method={"name": "ferret", "seeds": 32}, local={"steps": 3})
    base = fed.global_weights()
    updates, change = {}, {name: torch.zeros_like(w) for name, w in base.items()}
    for client, size in enumerate(fed.sizes):
        updates[client] = fed.train(client)
        for name, own in fed.weights().items():
            change[name] += (base[name] - own) * size / sum(fed.sizes)
    counts, seeds = ferret.sizes(fed.config, fed.model), ferret._seeds(fed.config, fed.job.seed, 1)
    gamma = ferret.project(fed.config, change, counts, seeds)
    ferret.rebuild(fed.config, base, counts, seeds, gamma)
    fed.close(updates)
    for name, value in fed.global_weights().items():
        assert torch.allclose(value, base[name], atol=2e-6), name


def test_each_round_has_seeds_of_its_own() -> None:
    config = ferret.Config(seeds=4)
    assert not set(ferret._seeds(config, 7, 1)) & set(ferret._seeds(config, 7, 2))


def test_a_late_update_moves_the_model_along_the_seeds_of_its_own_round(federation: Make) -> None:
    rounds = {"count": 4, "mode": "buffered", "buffer": 1, "staleness_exponent": 1.0}
    fed = federation(method={"name": "ferret", "seeds": 8}, local={"steps": 2}, rounds=rounds)
    update = fed.train(0)
    on_time = fed.aggregate({0: update})
    fed.play(1)
    before = fed.global_weights()
    fed.states.append(decode(encode(fed.aggregate_late({0: (update, 1)}))))
    after = fed.global_weights()
    fed.states = [fed.states[0], decode(encode(on_time))]
    base, moved = fed.global_weights(0), fed.global_weights()
    for name, value in after.items():  # weight 1 / (1 + 1)
        expected = before[name] + 0.5 * (moved[name] - base[name])
        assert torch.allclose(value, expected, atol=1e-6)
