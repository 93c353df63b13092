"""bfloat16 weights and faster products: what must stay in float32 does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fedkrso_core.lean import lean_model
from fedkrso_core.lean.precision import exact_products, forward_products, products
from fedkrso_core.ops.rounding import round_to_bf16
from fedkrso_core.ops.subspace import SubspaceLinear, draw
from fedkrso_core.spec import EXACT_MEMORY, LocalSpec

from .conftest import bert

Step = Callable[..., Any]
D_OUT, D_IN, RANK = 24, 32, 4
CPU = torch.device("cpu")


def stand_in(dtype: torch.dtype) -> SubspaceLinear:
    torch.manual_seed(0)
    layer = nn.Linear(D_IN, D_OUT).requires_grad_(False)
    layer.weight.data.mul_(4)  # of the size where bfloat16 loses a change of 1e-5
    module = SubspaceLinear(layer.to(dtype), RANK)
    draw({"layer": module}, 1)
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_thousand_small_updates_survive(dtype: torch.dtype) -> None:
    module = stand_in(dtype)
    start = module.layer.weight.float().clone()
    for _ in range(1000):
        module.b.data += 1e-5
        module.write()
    if dtype == torch.bfloat16:
        module.leave(seed=3)
    change = module.layer.weight.float() - start
    assert module.layer.weight.dtype == dtype
    wanted = torch.full((D_OUT, RANK), 1e-2) @ module.p
    # one rounding of a bfloat16 (at most 2^-8 of the weight) instead of a thousand lost ones
    drift = (change - wanted).abs().max()
    assert drift <= (1e-4 if dtype == torch.float32 else start.abs().max() * 2**-7)
    assert (change - wanted).mean().abs() < 0.05 * wanted.abs().mean()


def test_written_in_place_in_bf16_they_would_be_lost() -> None:
    weight = stand_in(torch.bfloat16).layer.weight.clone()
    start = weight.clone()
    for _ in range(1000):
        weight += 1e-5
    lost = (weight - start).float().mean()
    assert lost < 0.5e-2  # of 1e-2: the premise of the test above


def test_small_changes_are_seen_by_the_very_next_step_in_bf16() -> None:
    module = stand_in(torch.bfloat16)
    module.b.data += 1e-3
    x = torch.ones(1, D_IN, dtype=torch.bfloat16)
    x.requires_grad_()
    weight = module.layer.weight.float() + module.b @ module.p
    y = module(x)
    torch.testing.assert_close(
        y.float(), torch.nn.functional.linear(x.float(), weight, module.layer.bias.float()),
        rtol=0.02, atol=0.02,
    )  # fmt: skip
    y.float().sum().backward()
    torch.testing.assert_close(x.grad.float()[0], weight.sum(0).detach(), rtol=0.02, atol=0.05)
    assert module.b.grad.dtype == torch.float32


def test_random_rounding_has_the_exact_mean_and_moves_no_more_than_one_step() -> None:
    value = torch.full((200_000,), 1 + 0.3 * 2**-7)
    rounded = round_to_bf16(value, seed=1).float()
    assert set(rounded.unique().tolist()) == {1.0, 1 + 2**-7}
    assert float(rounded.mean() - 1) == pytest.approx(0.3 * 2**-7, rel=0.02)
    assert torch.equal(rounded, round_to_bf16(value, seed=1).float())
    assert not torch.equal(rounded, round_to_bf16(value, seed=2).float())


def test_what_bf16_can_hold_is_left_as_it_is() -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -2.5, 2.0**-100, 3.0e38]).bfloat16().float()
    assert torch.equal(round_to_bf16(values, seed=7).float(), values)


def test_bf16_weights_halve_the_body_and_give_it_back_in_float32(step: Step) -> None:
    model = bert()
    with lean_model(model, LocalSpec(memory=("bf16-weights",))):
        assert {p.dtype for p in model.bert.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in model.classifier.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    loss, _ = step(model)
    lean, gradients = step(model, *EXACT_MEMORY, "bf16-weights")
    assert float(lean) == pytest.approx(float(loss), abs=0.05)
    assert gradients["classifier.weight"].dtype == torch.float32


@pytest.mark.parametrize("precision", ["medium", "bf16"])
def test_faster_products_stay_near_and_leave_no_setting_behind(step: Step, precision: str) -> None:
    model = bert()
    loss, gradients = step(model)
    fast_loss, fast = step(model, precision=precision)
    assert float(fast_loss) == pytest.approx(float(loss), abs=0.02)
    assert {g.dtype for g in fast.values()} == {torch.float32}
    name = "classifier.weight"
    torch.testing.assert_close(fast[name], gradients[name], rtol=0.2, atol=0.01)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("precision", ["fp32", "medium", "bf16"])
def test_low_rank_products_are_float32_at_any_precision(precision: Any) -> None:
    module = stand_in(torch.float32)
    x, weights = torch.randn(64, D_IN), torch.randn(64, D_OUT).bfloat16().float()
    with products(precision):
        with forward_products(precision, CPU):
            y = module(x)
        (y.float() * weights).sum().backward()
    assert module.b.grad.dtype == torch.float32
    exact = weights.T.double() @ (x.double() @ module.p.T.double())
    torch.testing.assert_close(module.b.grad.double(), exact, rtol=1e-5, atol=1e-4)


def test_exact_products_hold_inside_faster_ones() -> None:
    with products("medium"), forward_products("bf16", CPU):
        assert torch.get_float32_matmul_precision() == "medium"
        with exact_products(CPU):
            assert torch.get_float32_matmul_precision() == "highest"
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
