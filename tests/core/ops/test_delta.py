"""Changes of tensors: exact ones give the very bits back, others what the docstring says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedkrso_core.method import shape_of
from fedkrso_core.ops import delta


def test_the_places_of_floats_are_in_order() -> None:
    x = torch.tensor([-3e38, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 3e38])
    places = delta.ordered(x).tolist()
    assert places == sorted(places)
    assert places[4] - places[3] == 1


def test_an_exact_change_gives_the_very_bits_back() -> None:
    torch.manual_seed(0)
    then = torch.randn(4096) * torch.logspace(-30, 8, 4096)
    x = torch.where(torch.rand(4096) < 0.5, then * 1.001, torch.randn(4096) * 1e-9)
    assert not torch.equal(then + (x - then), x)  # a float32 difference would lose some
    sent = delta.change("w", x, then, "exact", 1.0)
    back = delta.changed("w", sent, then)
    assert torch.equal(back.view(torch.int32), x.view(torch.int32))


@pytest.mark.parametrize("precision", ["exact", "bf16", "int8"])
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_what_is_sent_has_the_shapes_that_are_expected(precision: Any, density: float) -> None:
    x, then = torch.randn(5, 7), torch.randn(5, 7)
    sent = delta.change("w", x, then, precision, density)
    found = {name: shape_of(tensor) for name, tensor in sent.items()}
    assert found == delta.shapes("w", (5, 7), precision, density)


@pytest.mark.parametrize(("precision", "error"), [("bf16", 2**-8), ("int8", 0.5 / 127)])
def test_rounded_changes_are_near(precision: Any, error: float) -> None:
    torch.manual_seed(0)
    then, change = torch.randn(200), 1e-3 * torch.randn(200)
    back = delta.changed("w", delta.change("w", then + change, then, precision, 1.0), then)
    assert (back - then - change).abs().max() <= error * change.abs().max() + 1e-6


def test_of_a_sparse_change_the_largest_numbers_are_kept() -> None:
    then, x = torch.zeros(2, 3), torch.tensor([[1.0, -5.0, 0.0], [2.0, 0.5, -3.0]])
    sent = delta.change("w", x, then, "exact", 0.5)
    assert sent["index/w"].tolist() == [1, 3, 5]
    expected = torch.tensor([[0.0, -5.0, 0.0], [2.0, 0.0, -3.0]])
    assert torch.equal(delta.changed("w", sent, then), expected)


def test_hostile_places_and_numbers_change_nothing_else() -> None:
    then = torch.ones(4)
    sent = {"index/w": torch.tensor([-7, 99], dtype=torch.int32)}
    sent["delta/w"] = torch.tensor([0x7FFFFFFF, 0x40000000], dtype=torch.int32)
    assert delta.changed("w", sent, then).isfinite().all()
