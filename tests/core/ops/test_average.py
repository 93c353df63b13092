"""Weighted means of updates: streamed, in the order that they are handed over."""

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Update
from fedkrso_core.ops.average import mean_of_uploads
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


def test_named_scalars_are_averaged_in_double_precision() -> None:
    updates = [
        Update(Payload(scalars={"decay": d, "P/0": "ab"}), n, {}) for d, n in ((0.1, 1), (0.2, 3))
    ]
    mean = mean_of_uploads(updates, scalars=["decay"])
    assert {name: t.item() for name, t in mean.items()} == {
        "decay": pytest.approx(0.175, rel=1e-15)
    }


def hundred(numbers: int) -> Iterator[Update]:
    """Updates as they are decoded, one after the other."""
    for client in range(100):
        yield update(1 + client % 3, x=[float(client)] * numbers, y=[1.0] * numbers)


def test_an_update_is_gone_before_the_next_one_is_decoded() -> None:
    """So beside the sum there are at most one decoded update and the body of it."""
    seen: list[weakref.ref[Update]] = []

    def stream() -> Iterator[Update]:
        made = hundred(3)
        while True:
            assert not any(ref() for ref in seen), "an earlier update is still there"
            try:
                each = next(made)
            except StopIteration:
                return
            seen.append(weakref.ref(each))
            yield each
            del each

    assert mean_of_uploads(stream())["y"].tolist() == [1.0] * 3
    assert len(seen) == 100


def test_the_mean_of_a_hundred_takes_one_sum_beside_an_update(live_bytes: Any) -> None:
    one = 2 * 4 * 10_000
    with live_bytes() as seen:
        mean = mean_of_uploads(hundred(10_000))
    assert 2 * one <= seen.peak <= 2 * one + 100
    weights = torch.tensor([1 + client % 3 for client in range(100)])
    expected = (weights * torch.arange(100)).sum() / weights.sum()
    assert torch.allclose(mean["x"], expected.float().expand(10_000))


def test_the_same_order_gives_the_same_bits_and_another_need_not() -> None:
    """Why updates are handed over in the order of the clients: float32 sums depend on it."""
    updates = [update(1, x=[1e8]), update(1, x=[1.0]), update(1, x=[-1e8])]
    one, again = mean_of_uploads(updates)["x"], mean_of_uploads(iter(updates))["x"]
    other = mean_of_uploads([updates[0], updates[2], updates[1]])["x"]
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_no_updates_have_no_mean() -> None:
    with pytest.raises(MethodError, match="there are no updates to aggregate"):
        mean_of_uploads([])
