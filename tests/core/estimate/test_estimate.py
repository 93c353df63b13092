"""Forecasts of a job: which methods, what is refused, what is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.batches import make_encoder
from fedkrso_core.errors import SpecError
from fedkrso_core.estimate.batch import largest_batch
from fedkrso_core.examine import examine
from fedkrso_core.forecast import Forecasts
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import JobSpec

Forecast = Callable[..., Forecasts]


def names(found: Forecasts) -> list[str]:
    return [one.method for one in found.forecasts]


def test_the_own_method_alone_is_the_default(forecast: Forecast) -> None:
    found = forecast()
    assert (found.job, found.device, names(found)) == ("tiny", "cpu, 1 thread", ["fedkrso"])
    (own,) = found.forecasts
    assert own.title == METHODS["fedkrso"].title
    assert (own.refused, None) == (None, own.refused)
    assert None not in (own.traffic, own.memory, own.pace)


def test_the_own_method_is_first_and_none_comes_twice(forecast: Forecast) -> None:
    own = {"name": "fedit"}
    assert names(forecast(["ffa_lora", "fedit", "ffa_lora"], method=own)) == ["fedit", "ffa_lora"]
    everything = names(forecast(["all", "fedavg"], method=own))
    assert everything[0] == "fedit"
    assert sorted(everything) == sorted(METHODS)


def test_options_that_fit_are_taken_over(forecast: Forecast) -> None:
    rank = {"name": "fedkrso", "rank": 8, "interval": 2}
    _, like = forecast(["ffa_lora"], method=rank).forecasts
    (same,) = forecast(method={"name": "ffa_lora", "rank": 8}).forecasts
    assert like.traffic == same.traffic


def test_a_method_that_cannot_run_the_job_is_refused(forecast: Forecast) -> None:
    own, other = forecast(["fedavg"], method={"name": "fedkrso", "rank": 99}).forecasts
    assert own.refused is not None
    assert "99 is above the size of layer" in own.refused
    assert own.traffic is own.memory is own.pace is None
    assert other.refused is None


def test_wrong_options_are_refused_with_what_is_allowed(forecast: Forecast) -> None:
    (own,) = forecast(method={"name": "fedavg", "ranks": 4}).forecasts
    assert own.refused is not None
    assert "method.ranks" in own.refused


def test_memory_that_a_method_cannot_save_is_refused(forecast: Forecast) -> None:
    own, other = forecast(["fedavg"], local={"memory": ["bf16-weights"]}).forecasts
    assert own.refused is None
    assert other.refused is not None
    assert "bf16-weights" in other.refused


@pytest.mark.parametrize(
    ("changes", "methods", "field"),
    [
        ({}, ["adam"], "methods"),
        ({"method": {"name": "all"}}, [], "method.name"),
        ({"model": "/nowhere"}, [], "model"),
        ({"data": {"label": "nothing"}}, [], "data.label"),
        (
            {
                "clients": {"count": 100, "per_round": 1},
                "partition": {"kind": "iid"},
                "data": {"max_rows": 9},
            },
            [],
            "partition",
        ),
        ({"local": {"max_length": 33}}, [], "local.max_length"),
    ],
)
def test_a_job_that_no_method_can_run_is_an_error(
    forecast: Forecast, changes: dict[str, Any], methods: list[str], field: str
) -> None:
    with pytest.raises(SpecError) as refused:
        forecast(methods, **changes)
    assert refused.value.problems[0].field.startswith(field)


def test_an_unknown_method_is_told_what_is_allowed(forecast: Forecast) -> None:
    with pytest.raises(SpecError, match=r"fedavg, .*fedit, .*, all"):
        forecast(["adam"])


def test_the_batch_is_as_long_as_the_longest_row(job: Callable[..., JobSpec]) -> None:
    for limit, length in ((16, 8), (5, 5)):
        spec = job(local={"max_length": limit})
        found = examine(spec)
        encoder = make_encoder(spec.task, found.tokenizer, limit, torch.device("cpu"))
        batch = largest_batch(found.shares.train, encoder, 4)
        assert (batch.rows, batch.length) == (4, length)  # six words and two special tokens
        assert set(batch.inputs) >= {"input_ids", "attention_mask"}
        assert all(tensor.shape[0] == 4 for tensor in batch.make().values())


def test_a_job_that_would_take_hours_to_play_is_refused(forecast: Forecast) -> None:
    message = r"rounds: 40000 rounds of 2 clients are too many.*allowed: at most 25000"
    with pytest.raises(SpecError, match=message):
        forecast(rounds=40_000, clients={"count": 3, "per_round": 2})
