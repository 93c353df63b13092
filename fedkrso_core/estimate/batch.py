"""The largest batch that a job's data can make, without its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedkrso_core.data import Examples
from fedkrso_core.spec import LocalSpec

_ROWS, _CHUNK = 20_000, 1_000


@dataclass(frozen=True)
class Batch:
    """The shape of a training batch: rows, their length, and the inputs the tokenizer gives."""

    rows: int
    length: int
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")

    def make(self) -> dict[str, Tensor]:
        """The batch, all ones, with the labels (rows,)."""
        shapes = {**dict.fromkeys(self.inputs, (self.rows, self.length)), "labels": (self.rows,)}
        return {name: torch.ones(shape, dtype=torch.int64) for name, shape in shapes.items()}


def largest_batch(examples: Examples, tokenizer: Any, local: LocalSpec) -> Batch:
    """A batch that is as long as the longest row, cut at `local.max_length`.

    Of very many rows, the 20,000 with the longest text are looked at.
    """
    pairs = examples.pairs or [""] * len(examples)
    sizes = [len(text) + len(pair) for text, pair in zip(examples.texts, pairs, strict=True)]
    order = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)[:_ROWS]
    length, inputs = 0, tuple[str, ...]()
    for start in range(0, len(order), _CHUNK):
        chunk = examples.select(order[start : start + _CHUNK])
        encoded = tokenizer(chunk.texts, chunk.pairs, truncation=True, max_length=local.max_length)
        length = max(length, *map(len, encoded["input_ids"]))
        inputs = tuple(encoded.keys())
        if length == local.max_length:
            break
    return Batch(local.batch_size, length, inputs)
