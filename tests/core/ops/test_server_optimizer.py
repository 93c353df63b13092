"""The server's optimizers against numbers computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fedkrso_core.ops.server_optimizer import stepped
from fedkrso_core.options_spec import ServerSpec

X = {"x": torch.tensor([1.0, -2.0, 0.5])}
DELTAS = [[0.2, -0.4, 0.0], [0.1, 0.3, -0.2], [-0.3, 0.1, 0.4]]


def play(spec: ServerSpec) -> list[Tensor]:
    """x after each of three rounds whose clients change it by DELTAS."""
    now, memory, path = dict(X), dict[str, Tensor](), []
    for delta in DELTAS:
        mean = {"x": now["x"] + torch.tensor(delta)}
        now, memory = stepped(spec, mean, now, memory)
        path.append(now["x"])
    return path


def by_hand(kind: str, lr: float, b1: float, b2: float, tau: float) -> list[list[float]]:
    """Algorithm 2 of arXiv 2003.00295, one number at a time."""
    found = []
    x, m, v = X["x"].tolist(), [0.0] * 3, [tau**2] * 3
    for delta in DELTAS:
        for i in range(3):
            m[i] = b1 * m[i] + (1 - b1) * delta[i]
            square = m[i] ** 2
            if kind == "fedadagrad":
                v[i] = v[i] + square
            elif kind == "fedyogi":
                sign = (v[i] > square) - (v[i] < square)
                v[i] = v[i] - (1 - b2) * square * sign
            else:
                v[i] = b2 * v[i] + (1 - b2) * square
            x[i] = x[i] + lr * m[i] / (v[i] ** 0.5 + tau)
        found.append(list(x))
    return found


@pytest.mark.parametrize("kind", ["fedadam", "fedyogi", "fedadagrad"])
def test_adaptive_steps_are_those_of_the_paper(kind: Any) -> None:
    spec = ServerSpec(optimizer=kind, lr=0.1, beta1=0.8, beta2=0.9, tau=0.01)
    for found, expected in zip(play(spec), by_hand(kind, 0.1, 0.8, 0.9, 0.01), strict=True):
        assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_first_step_of_fedadam_in_numbers() -> None:
    """m = 0.1 D, v = 0.99 tau^2 + 0.01 m^2: of D = 0.2, 0.02 and 1e-6 * 0.99 + 4e-6."""
    (first, *_) = play(ServerSpec(optimizer="fedadam", lr=0.01))
    step = 0.01 * 0.02 / ((0.99e-6 + 4e-6) ** 0.5 + 1e-3)
    assert first[0].item() == pytest.approx(1.0 + step, rel=1e-6)
    assert first[2].item() == 0.5  # nobody changed it


def test_momentum_carries_former_rounds_on() -> None:
    path = play(ServerSpec(optimizer="fedavgm", beta1=0.5, lr=2.0))
    m, x = 0.0, 1.0
    for delta, found in zip(DELTAS, path, strict=True):
        m = 0.5 * m + delta[0]
        x += 2.0 * m
        assert found[0].item() == pytest.approx(x, rel=1e-6)


def test_without_momentum_and_with_a_whole_step_the_mean_stays_bit_for_bit() -> None:
    torch.manual_seed(0)
    mean = {"x": torch.randn(1000) * 1e-3, "zero": torch.tensor([-0.0, 0.0])}
    before = {"x": torch.randn(1000)}
    spec = ServerSpec(optimizer="fedavgm", beta1=0)
    after, memory = stepped(spec, mean, before, {})
    assert memory == {}
    for name, tensor in mean.items():
        assert torch.equal(after[name].view(torch.int32), tensor.view(torch.int32))


def test_what_is_not_in_a_round_keeps_its_memory() -> None:
    spec = ServerSpec(optimizer="fedavgm")
    _, memory = stepped(spec, {"a": torch.ones(2)}, {}, {"m/b": torch.ones(1)})
    assert sorted(memory) == ["m/a", "m/b"]


def test_whole_numbers_are_those_of_the_mean() -> None:
    count = {"n": torch.tensor([3])}
    assert stepped(ServerSpec(optimizer="fedadam"), count, {}, {}) == (count, {})
