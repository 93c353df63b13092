"""SpaFL (arXiv 2406.00431): thresholds travel, weights stay, every step reaches everybody."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from fedkrso_core import engine
from fedkrso_core.ops.targets import target_linears
from fedkrso_core.ops.threshold import ThresholdLayer, mask, shift
from fedkrso_core.payload import encode

Make = Callable[..., Any]
W = [[0.5, -0.5, 0.2], [0.1, 0.1, -0.1]]


def spafl(federation: Make, **options: Any) -> Any:
    local = {"steps": 3, "lr": 1e-2, "optimizer": "sgd"}
    return federation(method={"name": "spafl", **options}, local=local)


def test_a_row_is_there_while_its_mean_is_above_its_threshold() -> None:
    w = torch.tensor(W)  # means of |W|: 0.4 and 0.1
    assert mask(w, torch.tensor([0.0, 0.0])).tolist() == [1, 1]
    assert mask(w, torch.tensor([0.3, 0.2])).tolist() == [1, 0]


def test_gradients_pass_straight_through_the_step() -> None:
    linear = torch.nn.Linear(3, 2, bias=False)
    linear.weight.data = torch.tensor(W)
    layer, x = ThresholdLayer(linear, torch.tensor([0.3, 0.2])), torch.tensor([[1.0, 2.0, 3.0]])
    y = layer(x)
    assert torch.allclose(y, torch.tensor([[0.5 - 1.0 + 0.6, 0.0]]))
    y.sum().backward()
    wx = torch.tensor(W) @ x[0]
    assert torch.allclose(layer.tau.grad, -wx)  # d kept / d tau = -1
    m, sign = torch.tensor([1.0, 0.0]), torch.tensor(W).sign()
    expected = m[:, None] * x + wx[:, None] * sign / 3
    assert torch.allclose(linear.weight.grad, expected)


def test_weights_move_against_the_step_along_the_sign_of_their_row() -> None:
    w = torch.tensor(W)
    shift(w, torch.tensor([0.3, -0.6]))
    assert torch.allclose(w, torch.tensor(W) - torch.tensor([[0.1], [-0.2]]))


def test_only_thresholds_travel(federation: Make) -> None:
    fed = spafl(federation)
    fed.play(2)
    layers = target_linears(fed.model, "all-linear")
    assert fed.train(0).upload.tensors.keys() == {f"tau/{name}" for name in layers}
    both = {f"{part}/{name}" for name in layers for part in ("tau", "step")}
    assert fed.states[2].tensors.keys() == both


def test_a_clients_weights_stay_its_own(federation: Make) -> None:
    fed = spafl(federation)
    fed.play(1)
    one, other = (fed.memories[client].under("weight/") for client in (0, 1))
    assert all(not torch.equal(one[name], other[name]) for name in one)


def test_the_steps_of_all_rounds_are_downloaded_by_everybody(federation: Make) -> None:
    fed = spafl(federation)
    fed.play(3)
    lacking = engine.lacking(fed.method, fed.config, 0, fed.round)
    assert list(lacking) == [1, 2, 3]
    sizes = [sum(t.nbytes for t in fed.states[t].tensors.values()) for t in lacking]
    rows = sum(layer.out_features for layer in target_linears(fed.model, "all-linear").values())
    assert sizes == [8 * rows] * 3
    assert all(encode(fed.states[t]) for t in lacking)


def test_a_client_that_was_away_is_moved_by_all_that_it_missed(federation: Make) -> None:
    fed = spafl(federation)
    fed.play(1)
    kept = fed.memories[0]
    for _ in range(2):
        fed.close({1: fed.train(1)})
    state, name = fed.states[-1], "bert.encoder.layer.0.intermediate.dense"
    own = kept.under("weight/")[name].clone()
    step = state.under("tau/")[name] - kept.under("seen/")[name]
    shift(own, step)
    nothing = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    still = federation(method={"name": "spafl"}, local=nothing)
    still.go_on_from(fed)
    still.memories[0] = kept
    still.train(0)
    assert torch.allclose(still.weights()[f"{name}.weight"], own, atol=1e-7)


def test_thresholds_rise_without_a_reason_not_to(federation: Make) -> None:
    """The penalty alone: d/dtau of penalty exp(-tau) at 0 is -penalty."""
    one, other = (spafl(federation, penalty=penalty) for penalty in (0.0, 0.5))
    first, second = (fed.train(0).upload.tensors for fed in (one, other))
    for name in first:
        assert (second[name] - first[name] > 0.5 * 3 * 1e-2 * 0.5).float().mean() > 0.9


def test_personal_models_learn(federation: Make) -> None:
    local = {"steps": 10, "batch_size": 8, "lr": 3e-3, "head_lr": 1e-2}
    fed = federation(method={"name": "spafl"}, local=local)
    before = fed.loss(0)
    fed.play(3)
    assert fed.loss(0) < 0.8 * before


def test_a_layer_is_never_pruned_away(federation: Make) -> None:
    fed = spafl(federation, penalty=1e4)
    for tau in fed.train(0).upload.tensors.values():
        assert not tau.any()
    assert math.isfinite(fed.loss(0))
