"""Weighted means of updates."""

import pytest
import torch

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Update
from fedkrso_core.ops.average import WeightedMean, mean_of_uploads
from fedkrso_core.payload import Payload


def update(num_examples: int, **tensors: list[float]) -> Update:
    payload = Payload({name: torch.tensor(values) for name, values in tensors.items()})
    return Update(payload, num_examples, {})


def test_the_mean_is_weighted_by_examples() -> None:
    mean = mean_of_uploads([update(1, x=[4.0, 0.0]), update(3, x=[0.0, 8.0])])
    assert mean["x"].tolist() == [1.0, 6.0]


def test_the_mean_of_one_is_itself() -> None:
    assert mean_of_uploads([update(7, x=[0.5])])["x"].tolist() == [0.5]


def test_a_client_without_a_tensor_counts_as_zero() -> None:
    mean = mean_of_uploads([update(1, x=[4.0]), update(3, y=[4.0])])
    assert {name: t.tolist() for name, t in mean.items()} == {"x": [1.0], "y": [3.0]}


def test_the_updates_are_not_changed() -> None:
    updates = [update(2, x=[1.0]), update(2, x=[3.0])]
    mean_of_uploads(updates)
    assert [u.upload.tensors["x"].tolist() for u in updates] == [[1.0], [3.0]]


def test_updates_are_taken_one_at_a_time() -> None:
    alive: list[int] = []

    def stream() -> object:
        for n in (1, 2, 3):
            alive.append(n)
            yield update(n, x=[float(n)])

    mean = WeightedMean()
    for each in stream():
        assert alive == list(range(1, each.num_examples + 1))
        mean.add(dict(each.upload.tensors), each.num_examples)
    assert mean.result()["x"].tolist() == [pytest.approx(14 / 6)]


def test_no_updates_have_no_mean() -> None:
    with pytest.raises(MethodError, match="there are no updates to aggregate"):
        mean_of_uploads([])
