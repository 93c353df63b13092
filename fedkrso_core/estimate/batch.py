"""The largest batch that a job's data can make, without its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedkrso_core.batches import AnyEncoder
from fedkrso_core.data import Examples

_ROWS, _CHUNK = 20_000, 1_000


@dataclass(frozen=True)
class Batch:
    """The shape of a training batch: rows, their length, the inputs, and the kind of its labels.

    `per_token` says that labels are (rows, length) and not (rows,).
    """

    rows: int
    length: int
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    labels: torch.dtype = torch.int64
    per_token: bool = False

    def make(self) -> dict[str, Tensor]:
        """The batch, all ones, with the labels."""
        shape = (self.rows, self.length)
        made = {name: torch.ones(shape, dtype=torch.int64) for name in self.inputs}
        of_labels = shape if self.per_token else shape[:1]
        return {**made, "labels": torch.ones(of_labels, dtype=self.labels)}


def largest_batch(examples: Examples, encoder: AnyEncoder, rows: int) -> Batch:
    """A batch of so many rows that is as long as the longest row, cut at the encoder's length.

    Of very many rows, the 20,000 with the longest text are looked at.
    """
    order = np.argsort([-_characters(examples, row) for row in range(len(examples))])[:_ROWS]
    length = 0
    for start in range(0, len(order), _CHUNK):
        made = encoder.batch(examples, order[start : start + _CHUNK])
        length = max(length, made["input_ids"].shape[1])
        if length == encoder.max_length:
            break
    labels = made.pop("labels")
    return Batch(rows, length, tuple(made), labels.dtype, per_token=labels.dim() == 2)


def _characters(examples: Examples, row: int) -> int:
    columns = (examples.texts, examples.pairs, examples.prompts)
    return sum(len(column[row]) for column in columns if column is not None)
