"""Batches of token ids: a client's endless seeded pass over its rows, and the validation set.

How rows become a batch is the task's: `Encoder` here, `lm_batches.LmEncoder` for language models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkrso_core.data import Examples
from fedkrso_core.encoded_rows import EncodedRows
from fedkrso_core.lm_batches import LmEncoder
from fedkrso_core.tasks import TaskName


@dataclass(frozen=True)
class Encoder:
    """Turns rows into a batch: padded to the longest, cut at `max_length` tokens."""

    tokenizer: Any
    max_length: int
    device: torch.device

    def batch(self, examples: Examples, rows: np.ndarray) -> dict[str, Tensor]:
        """input_ids, attention_mask (n, length), labels (n,) and what else the tokenizer gives.

        Labels are integers, of regression float32.
        """
        texts = [examples.texts[i] for i in rows]
        pairs = None if examples.pairs is None else [examples.pairs[i] for i in rows]
        encoded = self._rows.batch(texts, pairs)
        labels = torch.tensor([examples.labels[i] for i in rows])
        return {name: t.to(self.device) for name, t in {**encoded, "labels": labels}.items()}

    @cached_property
    def _rows(self) -> EncodedRows:
        return EncodedRows(self.tokenizer, self.max_length)


AnyEncoder = Encoder | LmEncoder


def make_encoder(
    task: TaskName, tokenizer: Any, max_length: int, device: torch.device
) -> AnyEncoder:
    """The encoder of a task."""
    kind = LmEncoder if task == "causal-lm" else Encoder
    return kind(tokenizer, max_length, device)


def training_batches(
    encoder: AnyEncoder,
    examples: Examples,
    rows: np.ndarray,
    steps: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Tensor]]:
    """`steps` batches; the rows are shuffled anew each time all have been used."""
    order = rng.permutation(rows)
    for _ in range(steps):
        while len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(rows)])
        yield encoder.batch(examples, order[:batch_size])
        order = order[batch_size:]


def evaluation_batches(
    encoder: AnyEncoder, examples: Examples, batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """All rows in order, the last batch may be smaller."""
    for start in range(0, len(examples), batch_size):
        rows = np.arange(start, min(start + batch_size, len(examples)))
        yield encoder.batch(examples, rows)
