"""Quality of the global model on the validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedkrso_core.metrics import classification_metrics, regression_metrics

Batches = Iterable[dict[str, Tensor]]


def evaluate(
    model: nn.Module, batches: Batches, before_batch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Mean cross-entropy (nats) and classification metrics over all rows.

    `before_batch` may end it by raising.
    """
    total, predicted, truth = 0.0, [], []
    for logits, labels in outputs(model, batches, before_batch):
        total += float(cross_entropy(logits, labels, reduction="sum"))
        predicted.append(logits.argmax(-1).cpu().numpy())
        truth.append(labels.cpu().numpy())
    answers, answer_key = np.concatenate(predicted), np.concatenate(truth)
    num_labels = int(logits.shape[-1])
    metrics = classification_metrics(answer_key, answers, num_labels)
    return {"accuracy": metrics.pop("accuracy"), "loss": total / len(answers), **metrics}


def evaluate_regression(
    model: nn.Module, batches: Batches, before_batch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Pearson's and Spearman's correlation and the mean squared error, which is also the loss."""
    found = outputs(model, batches, before_batch)
    pairs = [(labels.cpu(), logits.squeeze(-1).cpu()) for logits, labels in found]
    truth, predicted = (torch.cat(side).double().numpy() for side in zip(*pairs, strict=True))
    metrics = regression_metrics(truth, predicted)
    return {"pearson": metrics.pop("pearson"), "loss": metrics["mse"], **metrics}


@torch.inference_mode()
def outputs(
    model: nn.Module, batches: Batches, before_batch: Callable[[], None] = lambda: None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits in float32 and labels of each batch, without dropout and gradients."""
    model.eval()
    for batch in batches:
        before_batch()
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        yield model(**inputs).logits.float(), batch["labels"]
