"""A job's curve to charts and the words under them."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.charts import Figure
from dashboard.job_figures import MOST_MARKS, figures
from dashboard.job_views import series_frame, time_frame

Points = list[dict[str, Any]]
KEYS = ["accuracy", "loss", "bytes", "memory", "time"]
SECONDS = {"train": 5.0, "transfer": 0.25, "wait": 2.0, "aggregate": 0.5}


def points(*rounds: int) -> Points:
    return [
        {
            "round": number,
            "metrics": {"accuracy": 1 - 0.6 / number, "loss": 1.4 / number},
            "bytes_up": 400_000 * number,
            "bytes_down": 1_300_000 * number,
            "peak_memory_bytes": 310_000_000 + 5_000_000 * number,
            "seconds": SECONDS,
        }
        for number in rounds
    ]


def figure(found: Points, key: str, **more: Any) -> Figure:
    drawn = {item.key: item for item in figures(series_frame(found), 6, **more)}
    return drawn[key]


def encodings(found: Figure) -> list[dict[str, Any]]:
    chart = found.chart.to_dict()
    return [layer["encoding"] for layer in chart.get("layer", [chart])]


def test_without_closed_rounds_the_charts_are_empty_and_say_so() -> None:
    captions = [item.caption for item in figures(series_frame([]), 6)]
    assert captions == [
        "Accuracy: not measured yet.",
        "Loss: not measured yet.",
        "No round has closed yet.",
        "Peak memory: not measured yet.",
        "No round has closed yet.",
    ]


def test_the_line_under_a_chart_says_its_current_value() -> None:
    found = points(1, 2)
    assert figure(found, "accuracy").caption == "Accuracy 0.700 after round 2; 2 rounds measured."
    assert figure(found, "bytes").caption == "Up 800 kB, down 2.6 MB until round 2."
    assert figure(found, "memory").caption == "320 MB in round 2."
    assert figure(found, "time").caption.startswith(
        "Round 2, a client in the mean: training 5s, transfer 0.25s, waiting 2s, aggregation 0.5s."
    )


def test_a_round_that_was_not_evaluated_is_no_point_of_the_metric() -> None:
    found = points(1, 2)
    found[1]["metrics"] = {}
    assert figure(found, "accuracy").caption == "Accuracy 0.400 after round 1; 1 round measured."


@pytest.mark.parametrize("key", KEYS)
def test_every_chart_has_whole_rounds_axis_titles_and_tooltips(key: str) -> None:
    encoding = encodings(figure(points(1, 2), key))[0]
    assert encoding["x"]["axis"]["format"] == "d"
    assert encoding["x"]["scale"]["domain"] == [0.5, 6.5]
    assert encoding["x"]["title"] == "Round"
    assert encoding["y"]["title"]
    assert len(encoding["tooltip"]) >= 2


def test_axes_of_amounts_name_their_unit() -> None:
    for key in ("bytes", "memory"):
        assert encodings(figure(points(1, 2), key))[0]["y"]["title"].endswith("(MB)")


def test_the_limit_of_the_budget_is_a_line_in_sight() -> None:
    found = figure(points(1, 2), "memory", memory_limit=2_000_000_000)
    bars, line = encodings(found)
    assert bars["y"]["scale"]["domain"] == [0, pytest.approx(2.2)]
    assert line["y"]["field"] == "limit"
    assert "the budget's limit of 2.0 GB" in found.caption


def test_bars_of_a_thinned_out_curve_touch_each_other() -> None:
    frame = time_frame(series_frame(points(5, 10)))
    training = frame[frame["part"] == "training"]
    assert list(training["left"]) == [0.5, 5.5]
    assert list(training["right"]) == [5.5, 10.5]


def test_the_parts_of_the_time_stand_on_each_other() -> None:
    frame = time_frame(series_frame(points(1))).set_index("part")
    assert frame.loc["training", "bottom"] == 0
    assert frame.loc["transfer", "bottom"] == frame.loc["training", "top"] == 5
    assert frame.loc["aggregation", "top"] == sum(SECONDS.values())


def test_a_long_curve_is_a_line_without_marks() -> None:
    short, long = (
        figure(points(*range(1, n)), "loss").chart.to_dict() for n in (3, MOST_MARKS + 2)
    )
    assert short["mark"]["point"]
    assert not long["mark"]["point"]


def test_charts_name_the_metric_of_the_task() -> None:
    found = points(1, 2)
    for item in found:
        item["metrics"] = {"perplexity": 40.0 / item["round"], "loss": 3.0}
    first = figures(series_frame(found, "perplexity"), 6, "perplexity")[0]
    assert first.caption == "Perplexity 20.000 after round 2; 2 rounds measured."
    assert "domain" not in first.chart.to_dict()["encoding"]["y"]["scale"]


def test_the_curves_of_bytes_say_which_is_which() -> None:
    (encoding,) = encodings(figure(points(1, 2), "bytes"))
    legends = [encoding[name].get("legend", {}) for name in ("color", "shape")]
    assert None not in legends
    # a scaled dash without a legend would take theirs away
    assert "scale" not in encoding["strokeDash"]
