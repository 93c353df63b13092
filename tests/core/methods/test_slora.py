"""SLoRA (arXiv 2308.06522): sparse rounds with one mask for all, an SVD, then LoRA from there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.ops.sparse import leading_factors, sparse_entries
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"


def slora(federation: Make, **options: Any) -> Any:
    method = {"name": "slora", "rank": 2, "alpha": 4.0, "density": 0.05, **options}
    return federation(method=method, local={"steps": 3, "lr": 1e-2})


def test_sparse_rounds_change_only_the_entries_of_the_mask(federation: Make) -> None:
    fed = slora(federation)
    base = fed.weights()
    fed.play(1)
    after = fed.global_weights()
    for name in target_linears(fed.model, "all-linear"):
        change = (after[f"{name}.weight"] - base[f"{name}.weight"]).flatten()
        places = sparse_entries(fed.job.seed, name, 0.05, *base[f"{name}.weight"].shape)
        elsewhere = torch.ones_like(change, dtype=torch.bool).index_fill(0, places, False)
        assert change[places].abs().max() > 1e-3
        assert change[elsewhere].abs().max() == 0.0


def test_the_mean_of_the_sparse_stage_is_exact(federation: Make) -> None:
    fed = slora(federation)
    updates = {client: fed.train(client) for client in range(3)}
    own = [fed.weights_after(fed.aggregate({c: updates[c]})) for c in range(3)]
    together = fed.weights_after(fed.aggregate(updates))
    for name, value in together.items():
        mean = sum(n * w[name] for n, w in zip(fed.sizes, own, strict=True)) / sum(fed.sizes)
        assert torch.allclose(value, mean, atol=1e-5)


def test_training_ends_in_the_weights_that_it_sends(federation: Make) -> None:
    fed = slora(federation)
    update = fed.train(1)
    own = fed.weights()
    fed.close({1: update})
    rebuilt = fed.global_weights()
    assert max((rebuilt[name] - own[name]).abs().max() for name in own) < 1e-6


def test_after_the_sparse_rounds_the_model_is_the_best_of_the_rank(federation: Make) -> None:
    """W_0 + s B A with B A the cut of what was learnt: nothing is counted twice."""
    fed = slora(federation, sparse_rounds=1)
    base, updates = fed.weights(), {client: fed.train(client) for client in range(3)}
    whole = slora(federation, sparse_rounds=2)
    learnt = whole.weights_after(whole.aggregate(updates))
    cut = fed.weights_after(fed.aggregate(updates))
    change = (learnt[f"{LAYER}.weight"] - base[f"{LAYER}.weight"]).double()
    u, s, v = torch.linalg.svd(change)
    best = u[:, :2] * s[:2] @ v[:2]
    kept = (cut[f"{LAYER}.weight"] - base[f"{LAYER}.weight"]).double()
    assert torch.allclose(kept, best, atol=1e-5)


def test_then_it_is_fedit_from_that_start(federation: Make) -> None:
    fed = slora(federation, sparse_rounds=1)
    fed.play(1)
    other = federation(
        method={"name": "fedit", "rank": 2, "alpha": 4.0}, local={"steps": 3, "lr": 1e-2}
    )
    other.states = list(fed.states)
    one, same = fed.train(1).upload.tensors, other.train(1).upload.tensors
    assert one.keys() == same.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_the_leading_factors_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    b, a = leading_factors(matrix, 3)
    u, s, v = torch.linalg.svd(matrix.double())
    assert torch.allclose((b @ a).double(), u[:, :3] * s[:3] @ v[:3], atol=1e-5)
    assert torch.allclose(a @ a.T, torch.eye(3), atol=1e-6)


def test_a_mask_of_all_entries_is_full_training(federation: Make) -> None:
    fed = slora(federation, density=1.0)
    base, update = fed.weights(), fed.train(0)
    after = fed.weights_after(fed.aggregate({0: update}))
    assert ((after[f"{LAYER}.weight"] - base[f"{LAYER}.weight"]).abs() > 0).all()


def test_the_mask_is_the_same_for_all_and_none_of_its_places_twice() -> None:
    one, same, other = (sparse_entries(seed, "layer", 0.1, 10, 30) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one.unique()) == 30
