"""Metrics of classification, from the confusion matrix, and of regression.

The formulas are written out here: the library that has them costs every client, coordinator
and evaluation 60 MB of memory and two seconds at start.
"""

from __future__ import annotations

import numpy as np


def classification_metrics(
    truth: np.ndarray, predicted: np.ndarray, num_labels: int
) -> dict[str, float]:
    """accuracy, f1 and mcc of labels 0..L-1, from integer arrays of shape (n,), n > 0.

    With C the (L, L) counts of truth by prediction, t = C 1 and p = C^T 1:

    - accuracy = tr C / n
    - f1 of label k = 2 C_kk / (t_k + p_k), 0 where k occurs in neither. It is that of label 1 for
      two labels (GLUE's convention), else the mean over the labels that occur in either.
    - mcc = (n tr C - t.p) / sqrt((n^2 - p.p) (n^2 - t.t)), Matthews' correlation for L labels
      (Gorodkin, Comput. Biol. Chem. 28, 2004); 0 where one side holds a single label.
    """
    counts = np.zeros((num_labels, num_labels), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    total, right = len(truth), int(np.trace(counts))
    of_truth, of_predicted = counts.sum(axis=1), counts.sum(axis=0)
    occurs = of_truth + of_predicted
    f1 = 2 * np.diag(counts) / np.maximum(occurs, 1)
    # Python's integers: the product of the two exceeds 64 bits from 55,000 rows on
    spread_truth = total**2 - int(of_truth @ of_truth)
    spread_predicted = total**2 - int(of_predicted @ of_predicted)
    agreement = total * right - int(of_truth @ of_predicted)
    spread = spread_truth * spread_predicted
    return {
        "accuracy": right / total,
        "f1": float(f1[1] if num_labels == 2 else f1[occurs > 0].mean()),
        "mcc": agreement / spread**0.5 if spread else 0.0,
    }


def regression_metrics(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """pearson, spearman and mse of two float arrays of shape (n,), n > 0.

    - pearson = cov(x, y) / (sd(x) sd(y)), 0 where one side is constant.
    - spearman = pearson of the ranks, equal values sharing the mean of theirs (Spearman, Am. J.
      Psychol. 15, 1904).
    - mse = mean (x - y)^2
    """
    return {
        "pearson": _pearson(truth, predicted),
        "spearman": _pearson(_ranks(truth), _ranks(predicted)),
        "mse": float(np.mean((truth - predicted) ** 2)),
    }


def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    x, y = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; those of equal values are the mean of the ranks that they take."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[which]
