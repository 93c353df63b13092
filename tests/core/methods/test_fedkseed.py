"""FedKSeed (arXiv 2312.06353): slopes along shared seeds, and the exact replay of an update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.method import pack
from fedkrso_core.methods import fedkseed
from fedkrso_core.ops.perturbation import Directions
from fedkrso_core.ops.zeroth_order import slope

Make = Callable[..., Any]


def kseed(federation: Make, local: dict[str, Any] | None = None, **options: Any) -> Any:
    method = {"name": "fedkseed", "seeds": 16, **options}
    return federation(method=method, local={"steps": 6, "lr": 1e-3, **(local or {})})


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_the_slope_of_a_quadratic_is_exact() -> None:
    """L = |w|^2 / 2: g = z^T w, whatever epsilon is."""
    w = {"w": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()}
    z = {"w": torch.zeros(3, 4)}
    Directions(z, "sign").step(5, 1.0)

    def move(amount: float) -> None:
        w["w"] += amount * z["w"]

    expected = float((w["w"] * z["w"]).sum())
    g, _ = slope(move, lambda: w["w"].square().sum() / 2, 0.5)
    assert g == pytest.approx(expected)


def test_along_many_seeds_the_slopes_give_the_gradient(federation: Make) -> None:
    """mean_k g_k z_k approaches grad L: the head's bias, of few numbers, shows it."""
    fed = kseed(federation)
    (batch, *_) = fed.work._client(0, 1, lambda _: None).batches()
    fed.model.eval()
    bias = fed.model.get_parameter("classifier.bias")
    (gradient,) = torch.autograd.grad(fed.model(**batch).loss, [bias])
    estimate = torch.zeros_like(bias)
    for seed in range(200):
        directions = Directions({"bias": bias.data}, "sign")
        with torch.no_grad():
            g, _ = slope(
                lambda x, d=directions, s=seed: d.step(s, x),
                lambda: fed.model(**batch).loss,
                2**-9,
            )
        directions.step(seed, 2**-9)
        z = {"bias": torch.zeros_like(bias)}
        Directions(z, "sign").step(seed, g / 200)
        estimate += z["bias"]
    assert torch.allclose(estimate, gradient, atol=0.3 * float(gradient.abs().max()))


@pytest.mark.parametrize("distribution", ["sign", "gaussian"])
@pytest.mark.parametrize("head_lr", [None, 1e-2])
def test_the_servers_accumulators_rebuild_the_clients_weights(
    federation: Make, distribution: str, head_lr: float | None
) -> None:
    fed = kseed(federation, {"head_lr": head_lr, "schedule": "cosine"}, distribution=distribution)
    update = fed.train(1)
    own = fed.weights()
    before = fed.global_weights()
    fed.close({1: update})
    assert largest_difference(before, own) > 1e-4
    assert largest_difference(own, fed.global_weights()) < 3e-6


def test_the_mean_of_accumulators_is_the_mean_of_the_weights(federation: Make) -> None:
    fed = kseed(federation)
    fed.play(1)
    updates, mean = {}, {n: torch.zeros_like(w).double() for n, w in fed.weights().items()}
    for client, size in enumerate(fed.sizes):
        updates[client] = fed.train(client)
        for name, own in fed.weights().items():
            mean[name] += own.double() * size / sum(fed.sizes)
    fed.close(updates)
    rebuilt = fed.global_weights()
    assert largest_difference({n: m.float() for n, m in mean.items()}, rebuilt) < 2e-6


def test_the_replay_of_an_update_is_exact(federation: Make) -> None:
    """Whoever replays the journal ends in the same bits."""
    one = kseed(federation)
    one.play(2)
    other = kseed(federation)
    other.states = list(one.states)
    assert largest_difference(one.global_weights(), other.global_weights()) == 0.0


def test_seeds_and_numbers_are_all_that_travels(federation: Make) -> None:
    fed = kseed(federation)
    fed.play(1)
    for payload in (fed.states[1], fed.train(0).upload):
        assert {name: tuple(t.shape) for name, t in payload.tensors.items()} == {"a": (16,)}


def test_no_gradient_is_ever_made(federation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a backward pass")

    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    assert pack(kseed(federation).train(0))


def test_pro_draws_steep_seeds_more_often() -> None:
    history = {"slopes": torch.tensor([0.0, 6.0, 6.0]), "draws": torch.tensor([0.0, 1.0, 5.0])}
    p = fedkseed.probabilities(history)  # means 0, 3, 1
    assert p.tolist() == pytest.approx(torch.softmax(torch.tensor([0.0, 1.0, 1 / 3]), 0).tolist())
    nothing_known = fedkseed.probabilities({name: torch.zeros(4) for name in history})
    assert nothing_known.tolist() == [0.25] * 4


def test_pro_sums_the_history_of_all_clients_and_rounds(federation: Make) -> None:
    fed = kseed(federation, pro=True)
    fed.play(2)
    assert float(fed.states[2].tensors["draws"].sum()) == 2 * 3 * 6
    first = fed.states[1].tensors["slopes"]
    assert (fed.states[2].tensors["slopes"] >= first).all()
    hostile = {**fed.train(0).upload.tensors, "draws": torch.full((16,), -1e9)}
    update = fed.train(0)
    bad = replace(update, upload=replace(update.upload, tensors=hostile))
    p = fedkseed.probabilities(fed.aggregate({0: bad}).tensors)
    assert p.isfinite().all()


def test_weight_decay_is_refused(job: Make) -> None:
    with pytest.raises(SpecError, match=r"weight_decay 0\.1; allowed: 0"):
        check(job(method={"name": "fedkseed"}, local={"weight_decay": 0.1}))
