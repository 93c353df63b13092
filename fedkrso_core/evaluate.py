"""Quality of the global model on the validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedkrso_core.metrics import classification_metrics


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Mean cross-entropy (nats) and classification metrics over all rows.

    `before_batch` may end it by raising.
    """
    model.eval()
    total, predicted, truth = 0.0, [], []
    for batch in batches:
        before_batch()
        labels = batch["labels"]
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        logits = model(**inputs).logits.float()
        total += float(cross_entropy(logits, labels, reduction="sum"))
        predicted.append(logits.argmax(-1).cpu().numpy())
        truth.append(labels.cpu().numpy())
    answers, answer_key = np.concatenate(predicted), np.concatenate(truth)
    num_labels = int(logits.shape[-1])
    metrics = classification_metrics(answer_key, answers, num_labels)
    return {"accuracy": metrics.pop("accuracy"), "loss": total / len(answers), **metrics}
