"""What a step computes, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import dropout, embedding, linear, scaled_dot_product_attention

from fedkrso_core.estimate.operations import Operation, Operations
from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.lean.precision import products
from fedkrso_core.ops.perturbation import Directions
from fedkrso_core.ops.projection import GROUP
from fedkrso_core.repeats import standing_for


def counted(work: Callable[[], object]) -> list[Operation]:
    with Operations() as operations:
        work()
    return [one for one in operations.counts.elements() if one != Operation("other")]


def test_a_product_has_two_operations_for_each_term() -> None:
    x, w = torch.ones(8, 16), torch.ones(4, 16)
    assert counted(lambda: linear(x, w)) == [
        Operation("fp32", 2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4), 4 * 8 * 4)
    ]


def test_training_has_three_products() -> None:
    x, w = torch.ones(8, 16, requires_grad=True), torch.ones(4, 16, requires_grad=True)
    made = counted(lambda: linear(x, w).sum().backward())
    assert sum(one.work for one in made) == 3 * 2 * 8 * 16 * 4


def test_the_kind_of_arithmetic_is_told() -> None:
    x = torch.ones(4, 4)

    def work() -> None:
        _ = x @ x, x.bfloat16() @ x.bfloat16()
        with products("medium"):
            _ = x @ x

    kinds = [one.kind for one in counted(work) if one.work]
    assert sorted(kinds) == ["bf16", "fp32", "medium"]


def test_a_write_into_a_weight_is_a_product() -> None:
    w, b, p = torch.ones(8, 16), torch.ones(8, 2), torch.ones(2, 16)
    (one,) = counted(lambda: w.addmm_(b, p))
    assert (one.work, one.fresh) == (2 * 8 * 2 * 16, 0)


def test_attention_is_products() -> None:
    q = torch.ones(2, 3, 5, 4, requires_grad=True)
    forward = counted(lambda: scaled_dot_product_attention(q, q, q))
    assert sum(one.work for one in forward) == 2 * (2 * 2 * 3 * 5 * 5 * 4)
    y = scaled_dot_product_attention(q, q, q).sum()
    assert sum(one.work for one in counted(y.backward)) >= 2 * sum(one.work for one in forward)


@pytest.mark.parametrize("view", [Tensor.t, Tensor.detach, lambda x: x[1:], lambda x: x.view(-1)])
def test_views_move_nothing(view: Callable[[Tensor], Tensor]) -> None:
    x = torch.ones(4, 4)
    assert counted(lambda: view(x)) == []


def test_in_place_work_needs_no_new_memory() -> None:
    x = torch.ones(4, 4)
    assert counted(lambda: x.add_(1)) == [Operation("other", 0, 2 * 64, 0)]
    assert counted(lambda: x + 1) == [Operation("other", 0, 2 * 64, 64)]
    assert counted(lambda: x[:1].expand(4, 4) + x) == [Operation("other", 0, 16 + 64 + 64, 64)]


def test_looking_up_does_not_read_the_table() -> None:
    table, rows = torch.ones(1000, 4), torch.zeros(3, dtype=torch.int64)
    assert counted(lambda: embedding(rows, table)) == [Operation("other", 0, 2 * 48, 48)]


def test_dropout_draws_a_number_for_each_element() -> None:
    x = torch.ones(4, 4)
    drawn = [one.work for one in counted(lambda: dropout(x, 0.5)) if one.kind == "noise"]
    assert drawn == [16]


def test_a_pass_counts_for_those_that_it_stands_for() -> None:
    def work() -> None:
        with standing_for(3), standing_for(2):
            torch.ones(2).neg()
        torch.ones(2).neg()

    with Operations() as operations:
        work()
    assert operations.counts[Operation("other", 0, 16, 8)] == 7


@pytest.mark.parametrize("seeds", [[5], [1, 2, 3, 4, 5, 6, 7]])
def test_directions_without_values_count_as_many_operators_and_bytes_as_with(
    seeds: list[int],
) -> None:
    def work() -> tuple[dict[Operation, int], int]:
        sizes = (3 * GROUP + 9, 40, 2 * GROUP, 40, GROUP + 9)
        w = Directions({f"w{i}": torch.zeros(size) for i, size in enumerate(sizes)}, "sign")
        with LiveTensors() as live, Operations() as operations:
            w.step(seeds[0], 0.5)
            w.add(seeds, torch.ones(len(seeds)))
            w.coordinates(seeds)
        # how much memory is found in scratch depends on which draw comes first: not in `fresh`
        found = dict(operations.counts)
        return {one: count for one, count in found.items() if one.moved}, live.peak_bytes

    with_values = work()
    with FakeTensorMode(allow_non_fake_inputs=True):
        without = work()
    assert without == with_values
