"""Classification metrics, as scikit-learn defines them."""

from __future__ import annotations

import numpy as np


def classification_metrics(
    truth: np.ndarray, predicted: np.ndarray, num_labels: int
) -> dict[str, float]:
    """accuracy, f1 and mcc (Matthews correlation).

    f1 is that of label 1 for two labels (GLUE's convention), else the macro mean over labels.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    average = "binary" if num_labels == 2 else "macro"
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1_score(truth, predicted, average=average, zero_division=0)),
        # nothing correlates with a single label, and scikit-learn would warn about it
        "mcc": float(matthews_corrcoef(truth, predicted)) if len(set(truth)) > 1 else 0.0,
    }
