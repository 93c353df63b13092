"""LoRA layers: y = x W^T + b + s (x A^T) B^T."""

import pytest
import torch
from torch import nn

from fedkrso_core.ops.lora import LoraLinear, initial_a, lora_layers, merge

LAYER = nn.Linear(3, 2)
A, B = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [-1.0]])


def test_a_starts_within_one_over_the_root_of_d_in() -> None:
    a = initial_a(0, "layer", 8, 400)
    assert a.shape == (8, 400)
    assert a.dtype == torch.float32
    assert 0.049 < a.abs().max() <= 0.05
    assert a.mean().abs() < 0.002


def test_a_is_the_same_for_the_same_seed_and_layer() -> None:
    assert torch.equal(initial_a(1, "x", 2, 3), initial_a(1, "x", 2, 3))
    assert not torch.equal(initial_a(1, "x", 2, 3), initial_a(2, "x", 2, 3))
    assert not torch.equal(initial_a(1, "x", 2, 3), initial_a(1, "y", 2, 3))


def test_the_first_a_never_changes() -> None:
    (row,) = initial_a(7, "layer", 1, 4).tolist()
    assert row == pytest.approx([-0.13984086, 0.39234084, 0.12889355, 0.15024254], rel=1e-6)


def test_the_adapter_adds_the_scaled_product() -> None:
    x = torch.tensor([[1.0, 1.0, 1.0]])  # x A^T = 6, times B = (6, -6), times 1/2
    added = LoraLinear(LAYER, A, B, 0.5)(x) - LAYER(x)
    assert torch.allclose(added, torch.tensor([[3.0, -3.0]]), atol=1e-6)


def test_merging_gives_the_same_outputs() -> None:
    x, layer = torch.ones(5, 3), nn.Linear(3, 2)
    adapted = LoraLinear(layer, A, B, 0.5)(x)
    merge(layer, A, B, 0.5)
    assert torch.allclose(layer(x), adapted, atol=1e-6)


def test_the_given_factors_are_copied() -> None:
    adapter = LoraLinear(LAYER, A, B, 1.0)
    adapter.a.data.zero_()
    assert A.tolist() == [[1.0, 2.0, 3.0]]


def test_layers_are_put_back_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    layer = model[0]

    def fail_inside() -> None:
        with lora_layers(model, {"0": layer}, {"0": (A, B)}, 1.0) as wrapped:
            assert model[0] is wrapped["0"]
            raise RuntimeError("in the middle of training")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_inside()
    assert model[0] is layer
