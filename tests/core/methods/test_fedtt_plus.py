"""FedTT+ (arXiv 2410.13097): cores in turn; with one trained core the mean is exact."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from tests.core.methods.tensor_trains import errors_of_the_mean

Make = Callable[..., Any]
LOCAL = {"steps": 3, "lr": 3e-2}


def test_with_one_core_the_mean_of_the_weights_is_that_of_the_cores(federation: Make) -> None:
    fed = federation(method={"name": "fedtt_plus"}, local=LOCAL)
    for _ in range(3):
        assert max(errors_of_the_mean(fed)) < 1e-5
        fed.play(1)


def test_with_several_cores_it_is_not(federation: Make) -> None:
    fed = federation(method={"name": "fedtt_plus", "per_round": 3}, local=LOCAL)
    fed.play(2)
    assert max(errors_of_the_mean(fed)) > 1e-5


def numbers(payload: Any) -> set[int]:
    return {int(name.split("/")[1]) for name in payload.tensors if name.startswith("G/")}


def test_the_cores_take_turns(federation: Make) -> None:
    fed = federation(method={"name": "fedtt_plus", "modes": 1}, local={"steps": 1})
    fed.play(3)
    assert [numbers(state) for state in fed.states] == [set(), {1}, {2}, {1}]


def test_with_all_cores_in_each_round_it_is_fedtt(federation: Make) -> None:
    one = federation(method={"name": "fedtt"}, local=LOCAL)
    other = federation(method={"name": "fedtt_plus", "per_round": 6}, local=LOCAL)
    for fed in (one, other):
        fed.play(2)
    same, tensors = one.states[-1].tensors, other.states[-1].tensors
    assert same.keys() == tensors.keys()
    assert all(torch.equal(same[name], tensors[name]) for name in same)


def test_more_cores_than_there_are_is_refused(job: Make) -> None:
    with pytest.raises(SpecError, match="allowed: 1 to 6"):
        check(job(method={"name": "fedtt_plus", "per_round": 7}))
