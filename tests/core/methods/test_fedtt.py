"""FedTT (arXiv 2410.13097): tensor trains, whose means are not the mean of the weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.ops.tensor_train import contract, core_shapes, modes_of, starting_core
from tests.core.methods.tensor_trains import errors_of_the_mean

Make = Callable[..., Any]
LOCAL = {"steps": 3, "lr": 3e-2}


def test_the_modes_multiply_to_the_size() -> None:
    assert [modes_of(n, 3) for n in (768, 1024, 384)] == [[8, 8, 12], [8, 8, 16], [6, 8, 8]]
    assert modes_of(7, 3) == [1, 1, 7]


def test_an_entry_is_the_product_of_a_slice_of_each_core() -> None:
    shapes = core_shapes(6, 4, 2, 2)
    generator = torch.Generator().manual_seed(0)
    cores = [torch.randn(shape, generator=generator) for shape in shapes]
    b, a = contract(cores)
    assert (b.shape, a.shape) == ((6, 2), (2, 4))
    # row 4 of 2 x 3 is (1, 1), column 3 of 2 x 2 is (1, 1)
    product = cores[0][:, 1] @ cores[1][:, 1] @ cores[2][:, 1] @ cores[3][:, 1]
    assert torch.allclose((b @ a)[4, 3], product.squeeze(), atol=1e-6)


def test_cores_of_full_rank_reach_any_matrix() -> None:
    """With one core for the rows and one for the columns a train is a plain product B A."""
    change = torch.arange(12.0).view(3, 4)
    b, a = contract([change.view(1, 3, 4), torch.eye(4).view(4, 4, 1)])
    assert torch.equal(b @ a, change)


def test_at_the_start_the_change_is_zero_and_a_is_as_large_as_loras() -> None:
    shapes = core_shapes(384, 384, 5, 3)
    b, a = contract([starting_core(7, "layer", j, shapes) for j in range(1, 7)])
    assert b.abs().max() == 0.0
    assert a.std() == pytest.approx((3 * 384) ** -0.5, rel=0.5)


def test_cores_of_a_wide_layer_are_few() -> None:
    shapes = core_shapes(768, 768, 5, 3)
    assert sum(torch.Size(shape).numel() for shape in shapes) == 40 + 200 + 300 + 200 + 200 + 60


def test_the_mean_of_all_cores_is_not_the_mean_of_the_weights(federation: Make) -> None:
    fed = federation(method={"name": "fedtt"}, local=LOCAL)
    fed.play(2)
    assert max(errors_of_the_mean(fed)) > 1e-5
