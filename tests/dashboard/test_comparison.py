"""Jobs side by side as frames, and who is on the Pareto front."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from dashboard import comparison, palette
from dashboard.compare_charts import compared
from dashboard.comparison import Measure

Json = dict[str, Any]
ACCURACY = Measure("accuracy")


def _series(name: str, values: list[float], size: int = 100, memory: int = 10**6) -> Json:
    points = [
        {
            "round": number,
            "metrics": {"accuracy": value, "loss": 1 - value},
            "elapsed_s": 10.0 * number,
            "bytes_up": size * number,
            "bytes_down": 3 * size * number,
            "peak_memory_bytes": memory + number,
            "seconds": {},
        }
        for number, value in enumerate(values, 1)
    ]
    common = {"method": "fedkrso", "state": "done", "headline": "accuracy"}
    common |= {"higher_is_better": True, "rounds": 9, "rounds_closed": len(values)}
    return {"id": f"id-{name}-{size}", "name": name, "points": points, **common}


def test_the_front_is_what_no_other_beats_in_all_three() -> None:
    results = [(0.9, 100, 10), (0.9, 200, 10), (0.8, 50, 20), (0.7, 60, 30)]
    assert comparison.pareto(results, True) == [True, False, True, False]


def test_of_a_loss_the_low_one_is_best() -> None:
    assert comparison.pareto([(0.9, 1, 1), (0.1, 1, 1)], False) == [False, True]


def test_equal_results_share_the_front() -> None:
    assert comparison.pareto([(0.9, 1, 1), (0.9, 1, 1)], True) == [True, True]


def test_what_was_not_measured_is_not_on_the_front_and_beats_nobody() -> None:
    assert comparison.pareto([(nan, 1, 1), (0.5, 2, 2), (0.9, 9, nan)], True) == [
        False,
        True,
        False,
    ]


def test_bytes_of_a_point_are_those_up_and_down() -> None:
    frame = comparison.points_frame([_series("a", [0.5, 0.6])], ACCURACY)
    assert list(frame["bytes"]) == [400, 800]
    assert list(frame["seconds"]) == [10, 20]


def test_a_job_that_lacks_the_metric_has_no_points_and_a_row_without_value() -> None:
    other = _series("b", [0.5])
    other["points"][0]["metrics"] = {"perplexity": 20.0}
    both = [_series("a", [0.5]), other]
    assert list(comparison.points_frame(both, ACCURACY)["job"]) == ["a"]
    values = list(comparison.results(both, ACCURACY)["value"])
    assert values[0] == 0.5
    assert values[1] != values[1]


def test_measures_begin_with_the_headlines_and_know_their_way() -> None:
    other = _series("b", [0.5]) | {"headline": "perplexity", "higher_is_better": False}
    found = comparison.measures([_series("a", [0.5]), other])
    assert found == [ACCURACY, Measure("perplexity", False), Measure("loss", False)]


def test_jobs_of_one_name_are_told_apart() -> None:
    same = [_series("a", [0.5]), _series("a", [0.5], 7), _series("b", [0.5])]
    assert comparison.labels(same) == ["a (id-a-1)", "a (id-a-7)", "b"]


def test_the_table_marks_the_best_and_shows_them_first() -> None:
    jobs = [_series("worse", [0.5], 200), _series("better", [0.6], 100)]
    shown = comparison.table(comparison.results(jobs, ACCURACY))
    assert list(shown["Job"]) == ["better", "worse"]
    assert list(shown[""]) == [comparison.BEST, ""]
    assert shown["Up (MB)"].iloc[0] == pytest.approx(1e-4)


def test_the_verdict_names_the_best_with_what_they_took() -> None:
    results = comparison.results([_series("a*", [0.5])], ACCURACY)
    said = comparison.verdict(results, ACCURACY)
    assert said == r"Pareto-best by accuracy, bytes and memory: **a\*** (0\.500, 400 B, 1\.0 MB)."
    empty = comparison.results([_series("a", [])], ACCURACY)
    assert "No job has measured" in comparison.verdict(empty, ACCURACY)


def test_a_csv_names_the_metric() -> None:
    frame = comparison.points_frame([_series("a", [0.5])], ACCURACY)
    head, row = comparison.csv(frame, ACCURACY).decode().split()
    assert head == "job,round,accuracy,bytes,bytes_up,bytes_down,seconds"
    assert row == "a,1,0.5,400,100,300,10.0"


def _figures(jobs: list[Json]) -> dict[str, Any]:
    points, results = (
        comparison.points_frame(jobs, ACCURACY),
        comparison.results(jobs, ACCURACY),
    )
    drawn = compared(points, results, ACCURACY, comparison.labels(jobs))
    return {figure.key: figure for figure in drawn}


def test_charts_say_in_words_how_each_job_ends() -> None:
    figures = _figures([_series("a", [0.5, 0.6]), _series("b", [0.9])])
    assert figures["rounds"].caption == "a 0.600 after 2 rounds; b 0.900 after 1 rounds."
    assert figures["bytes"].caption == "a 0.600 after 800 B; b 0.900 after 400 B."
    assert figures["time"].caption == "a 0.600 after 20s; b 0.900 after 10s."
    assert figures["memory"].caption == "a 1.0 MB; b 1.0 MB."


def test_bytes_are_on_a_logarithmic_axis() -> None:
    encoding = _figures([_series("a", [0.5, 0.6])])["bytes"].chart.to_dict()["encoding"]
    assert encoding["x"]["scale"]["type"] == "log"


def test_charts_of_jobs_without_a_round_say_so() -> None:
    figures = _figures([_series("a", [])])
    assert {figure.caption for figure in figures.values()} == {"Not measured yet."}
    assert all(figure.chart.to_dict() for figure in figures.values())


def test_many_jobs_are_told_apart_by_colour_and_dash() -> None:
    pairs = zip(palette.colours(24), map(tuple, palette.dashes(24)), strict=True)
    assert len(set(pairs)) == 24


@pytest.mark.parametrize(("count", "named"), [(20, True), (100, False)])
def test_a_legend_names_jobs_as_long_as_it_is_shorter_than_its_chart(
    count: int, named: bool
) -> None:
    series = [_series(f"job {n}", [0.4, 0.5 + n / 300]) for n in range(count)]
    results = comparison.results(series, ACCURACY)
    points, jobs = comparison.points_frame(series, ACCURACY), comparison.labels(series)
    for figure in compared(points, results, ACCURACY, jobs)[:3]:
        drawn = figure.chart.to_dict()
        assert (drawn["encoding"]["color"]["legend"] is not None) == named
        assert [one.get("bind") for one in drawn["params"]] == ["legend" if named else None]
        assert drawn["height"] <= 2 * 340
