"""Metrics against numbers computed by hand."""

import numpy as np
import pytest

from fedkrso_core.metrics import classification_metrics, regression_metrics


def metrics(truth: list[int], predicted: list[int], labels: int) -> dict[str, float]:
    return classification_metrics(np.array(truth), np.array(predicted), labels)


def test_two_labels_count_the_f1_of_label_one() -> None:
    # of label 1: 2 right, 1 too many, 1 missed
    found = metrics([1, 1, 0, 0, 1], [1, 0, 0, 1, 1], 2)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["mcc"] == pytest.approx((2 * 1 - 1 * 1) / (3 * 2 * 3 * 2) ** 0.5)


def test_more_labels_count_the_mean_f1_of_all() -> None:
    found = metrics([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_mcc_of_many_labels_is_the_correlation_of_their_indicators() -> None:
    rng = np.random.default_rng(0)
    truth, noise = rng.integers(0, 5, (2, 200_000))
    predicted = np.where(rng.random(len(truth)) < 0.3, truth, noise)
    one, other = (
        np.eye(5)[labels] - np.eye(5)[labels].mean(axis=0) for labels in (truth, predicted)
    )
    expected = (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
    found = classification_metrics(truth, predicted, 5)["mcc"]
    assert found == pytest.approx(expected, rel=1e-9)
    assert 0.25 < found < 0.35


def test_labels_that_never_occur_do_not_count_in_the_mean_f1() -> None:
    assert metrics([0, 1, 1], [0, 1, 0], 4)["f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_perfect_answers_score_one() -> None:
    assert set(metrics([0, 1, 2], [0, 1, 2], 3).values()) == {1.0}


@pytest.mark.parametrize("labels", [2, 3])
def test_a_single_answer_for_everything_scores_no_correlation(labels: int) -> None:
    assert metrics([0, 1, 0, 1], [0, 0, 0, 0], labels)["mcc"] == 0.0


@pytest.mark.parametrize("labels", [2, 3])
def test_rows_of_one_label_can_be_scored(labels: int) -> None:
    assert metrics([0, 0], [0, 0], labels)["accuracy"] == 1.0


def ranks_by_hand(values: list[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def test_correlations_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 50) / 2  # with equal values
    predicted = truth + rng.standard_normal(50)
    found = regression_metrics(truth, predicted)
    assert found["pearson"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    ranks = ranks_by_hand(list(truth)), ranks_by_hand(list(predicted))
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found["mse"] == pytest.approx(((truth - predicted) ** 2).mean())


def test_spearman_asks_for_the_order_alone() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    found = regression_metrics(truth, np.exp(truth))
    assert found["spearman"] == pytest.approx(1.0)
    assert found["pearson"] < 0.95


def test_a_constant_answer_has_no_correlation() -> None:
    found = regression_metrics(np.array([1.0, 2.0]), np.array([5.0, 5.0]))
    assert (found["pearson"], found["spearman"], found["mse"]) == (0.0, 0.0, 12.5)
