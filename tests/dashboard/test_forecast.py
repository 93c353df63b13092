"""A forecast as figures, frames and sentences."""

from __future__ import annotations

from typing import Any

from dashboard import forecast
from dashboard.charts import memory_parts
from tests.dashboard.canned import estimate

Json = dict[str, Any]
JOB: Json = {"name": "demo", "budget": {"bytes_up": "50MB", "memory": "400MB"}}


def _own() -> Json:
    own: Json = estimate({"name": "demo"}, "")["forecasts"][0]
    return own


def test_the_whole_job_is_one_sentence() -> None:
    assert forecast.whole_job(_own()) == (
        "The job: 24.0 MB up · 48.0 MB down · 7.2s of training · a client's process 500 MB"
    )


def test_what_is_not_known_is_a_dash() -> None:
    unknown = {"method": "odd", "title": "Odd", "traffic": None, "memory": None, "pace": None}
    assert set(forecast.tiles(unknown).values()) == {"—"}
    assert forecast.memory_frame([unknown]).empty
    assert forecast.precisions(unknown, "fp32") == []


def test_precisions_are_compared_with_the_one_that_is_chosen() -> None:
    assert forecast.precisions(_own(), "medium") == [
        "`fp32`: takes 33 % longer, 0.12s for a step",
        "`bf16`: takes 67 % longer, 0.15s for a step",
    ]
    assert forecast.precisions(_own(), "fp64") == []


def test_each_limit_of_the_budget_fits_or_says_why_not() -> None:
    answer = estimate(JOB, "")
    over = {"field": "budget.memory", "message": "400.0 MB: too little", "value": 400_000_000}
    answer["over_budget"] = {"fedkrso": [over]}
    labels = {"budget.memory": "Memory of a client"}
    assert forecast.fits(answer, JOB["budget"], labels) == [
        ":green[**bytes\\_up** fits: 24.0 MB of 50MB]",
        r":red[**Memory of a client** does not fit: 400\.0 MB\: too little]",
    ]


def test_a_method_that_cannot_run_is_named_and_not_compared() -> None:
    answer = estimate(JOB, "all")
    assert list(forecast.comparison(forecast.able(answer))["Method"]) == [
        "fedkrso",
        "fedavg (full)",
    ]
    assert forecast.refusals(answer) == ["**odd** cannot run this job: no layer matches"]
    assert forecast.too_large(answer) == ["**fedavg** does not fit into the budget"]


def test_the_parts_of_the_memory_are_in_their_order_and_in_words() -> None:
    frame = forecast.memory_frame(forecast.able(estimate(JOB, "all")))
    assert list(frame["part"][:4]) == list(forecast.PARTS)
    figure = memory_parts(frame)
    assert figure.caption.startswith("fedkrso: weights 90.0 MB, gradients 1.0 MB, optimizer 2.0 MB")
    assert "fedavg: weights 90.0 MB, gradients 90.0 MB" in figure.caption
    assert figure.chart.to_dict()["encoding"]["x"]["stack"] == "zero"
