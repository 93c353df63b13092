"""Metrics where models are personal: means over the clients' own, and the worst of them."""

from collections.abc import Callable

import pytest

from fedkrso_core.personal import Report, measures, round_metrics
from fedkrso_core.spec import JobSpec

Jobs = Callable[..., JobSpec]


def report(client: int, rows: int, **own: float) -> Report:
    return Report(client, rows, {"loss": 9.0, **{f"own_{n}": v for n, v in own.items()}})


def test_a_rounds_metrics_are_the_clients_means_weighted_by_examples() -> None:
    found = round_metrics(
        [report(0, 10, accuracy=0.5, loss=1.0), report(1, 30, accuracy=0.9, loss=0.2)]
    )
    assert found["accuracy"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.9)
    assert found["loss"] == pytest.approx(0.25 * 1.0 + 0.75 * 0.2)


def test_the_worst_client_is_shown_with_its_accuracy() -> None:
    found = round_metrics([report(c, 5, accuracy=a) for c, a in ((2, 0.7), (5, 0.4), (8, 0.4))])
    assert (found["worst_client"], found["worst_accuracy"]) == (5, 0.4)


def test_without_an_accuracy_the_worst_has_the_highest_loss() -> None:
    found = round_metrics([report(c, 5, loss=value) for c, value in ((0, 1.0), (1, 3.0))])
    assert (found["worst_client"], found["worst_loss"]) == (1, 3.0)


def test_a_client_that_measured_nothing_does_not_count() -> None:
    silent = Report(0, 1000, {"loss": 0.1})
    assert round_metrics([silent, report(1, 5, accuracy=0.8)])["accuracy"] == 0.8
    assert round_metrics([silent]) == {}


def test_huge_claims_stay_finite() -> None:
    found = round_metrics([report(c, 5, loss=1.7e308) for c in range(3)])
    assert found["loss"] == pytest.approx(1.7e308)


def test_clients_measure_in_the_rounds_that_are_evaluated(job: Jobs) -> None:
    spec = job(rounds=5, evaluate={"every": 2})
    assert [n for n in range(1, 6) if measures(spec, n)] == [2, 4, 5]


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": {"count": 5, "mode": "buffered", "buffer": 1}},
        {"rounds": 5, "budget": {"bytes_up": "1GB"}},
    ],
    ids=["buffered", "budget"],
)
def test_they_always_measure_where_any_round_may_be_evaluated(job: Jobs, changes: dict) -> None:
    spec = job(**changes, evaluate={"every": 3})
    assert all(measures(spec, n) for n in range(1, 6))
