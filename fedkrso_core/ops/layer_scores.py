"""How much layers tell rows apart: the score by which FedPepTAO chooses layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

_SMALL = 1e-5


@torch.no_grad()
def layer_scores(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Scores (L,) of the layers, of the hidden states that enter each, on CPU.

    score = sum_i (log lambda_i + 1 / lambda_i), lambda the eigenvalues + 1e-5 of the cosine
    similarities of the rows' hidden states (n, length d). Padding is zero in them.
    """
    training = model.training
    model.eval()
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    states = model(**inputs, output_hidden_states=True).hidden_states[:-1]
    model.train(training)
    mask = batch["attention_mask"][..., None]
    return torch.stack([score_of((state * mask).flatten(1)) for state in states])


def score_of(rows: Tensor) -> Tensor:
    """The score of rows (n, numbers), float32."""
    unit = normalize(rows.double().cpu(), dim=1)
    values = torch.linalg.eigvalsh(unit @ unit.T).clamp(min=0) + _SMALL
    score: Tensor = (values.log() + 1 / values).sum()
    return score.float()
