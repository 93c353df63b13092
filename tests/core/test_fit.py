"""Local training: the schedule, the optimizers and the loop, checked by hand."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Client
from fedkrso_core.ops.fit import fit, lr_factor, make_optimizer, mean_loss, set_lr
from fedkrso_core.spec import LocalSpec


class Quadratic(nn.Module):
    """loss = w^2 / 2 + h: the gradient of w is w, that of h is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.h = nn.Parameter(torch.tensor([4.0])), nn.Parameter(torch.tensor([1.0]))

    def forward(self, scale: float) -> Any:
        return SimpleNamespace(loss=(scale * (self.w**2 / 2 + self.h)).sum())


def client(local: LocalSpec, scale: float = 1.0, steps: list[int] | None = None) -> Client:
    def batches() -> Iterator[dict[str, Any]]:
        return iter([{"scale": scale}] * local.steps)

    note = (lambda _: None) if steps is None else steps.append
    return Client(3, 5, 0, local, 10, batches, on_step=note)


def test_a_constant_schedule_stays_at_its_peak() -> None:
    local = LocalSpec(steps=7)
    assert [lr_factor(local, step) for step in range(7)] == [1.0] * 7


def test_a_cosine_warms_up_and_falls_towards_zero() -> None:
    local = LocalSpec(steps=42, schedule="cosine")  # 2 steps of warm-up, 40 of cosine
    factors = [lr_factor(local, step) for step in range(42)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors[22] == pytest.approx(0.5)
    assert factors[12] == pytest.approx(0.5 * (1 + 2**-0.5))
    assert 0 < factors[41] < 0.01


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_cosine_still_trains(steps: int) -> None:
    local = LocalSpec(steps=steps, schedule="cosine")
    assert lr_factor(local, 0) == 1.0
    assert all(0 < lr_factor(local, step) <= 1 for step in range(steps))


def test_sgd_steps_are_those_computed_by_hand() -> None:
    model, steps = Quadratic(), []
    local = LocalSpec(steps=2, lr=0.5, head_lr=0.25, optimizer="sgd")
    metrics = fit(model, client(local, steps=steps), [model.w], [model.h])
    assert model.w.item() == 1.0  # 4 -> 2 -> 1
    assert model.h.item() == 0.5  # 1 -> 3/4 -> 1/2
    assert metrics == {"loss": (8 + 1 + 2 + 0.75) / 2}
    assert steps == [1, 2]


def test_the_first_adamw_step_has_the_size_of_the_rate() -> None:
    model = Quadratic()
    fit(model, client(LocalSpec(steps=1, lr=0.5)), [model.w], [model.h])
    assert model.w.item() == pytest.approx(3.5)
    assert model.h.item() == pytest.approx(0.5)


@pytest.mark.parametrize(("optimizer", "step"), [("adamw", 0.5), ("sgd", 2.0)])
def test_weight_decay_is_decoupled(optimizer: str, step: float) -> None:
    model = Quadratic()
    local = LocalSpec(steps=1, lr=0.5, weight_decay=0.1, optimizer=optimizer)
    fit(model, client(local), [model.w], [])
    assert model.w.item() == pytest.approx(4 * (1 - 0.5 * 0.1) - step)


def test_parameters_that_are_not_given_stay() -> None:
    model = Quadratic()
    fit(model, client(LocalSpec(steps=3)), [model.w], [])
    assert model.h.item() == 1.0


def test_weight_decay_can_be_left_to_the_caller() -> None:
    optimizer = make_optimizer(LocalSpec(weight_decay=0.1), [nn.Parameter(torch.ones(1))], (), 0.0)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


def test_the_rate_is_set_as_a_share_of_each_peak() -> None:
    w, h = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = make_optimizer(LocalSpec(lr=0.4, head_lr=0.8), [w], [h])
    for factor in (0.5, 0.25):
        set_lr(optimizer, factor)
        assert [g["lr"] for g in optimizer.param_groups] == [0.4 * factor, 0.8 * factor]


def test_training_that_diverged_names_client_round_and_rate() -> None:
    model = Quadratic()
    with pytest.raises(MethodError, match=r"client 3: the loss is inf in round 5; lower local.lr"):
        fit(model, client(LocalSpec(steps=1), scale=float("inf")), [model.w], [])


def test_the_mean_loss_is_that_of_all_steps() -> None:
    losses = [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(6.0)]
    assert mean_loss(losses, client(LocalSpec())) == {"loss": 3.0}


def test_training_leaves_no_gradients_behind() -> None:
    model = Quadratic()
    fit(model, client(LocalSpec(steps=2)), [model.w], [model.h])
    gradients: list[Tensor | None] = [model.w.grad, model.h.grad]
    assert gradients == [None, None]
