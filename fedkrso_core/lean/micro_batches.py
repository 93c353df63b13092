"""A batch computed a few rows at a time; the gradients add up to those of the whole.

    L = sum_i (n_i / n) L_i        L_i: mean loss of part i over what it counts, n_i of n

What a label counts for: a row (classification, regression) or a token (language models, where the
label -100 counts for nothing). So memory is that of `local.micro_batch_size` rows, whatever the
batch, and nothing is computed twice. The numbers differ from those of the whole batch in the order
of sums alone: with `dropout-bits` and `attention-recompute` on CPU the masks are those of the
whole batch too (see `lean.masks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fedkrso_core.lean.cross_entropy import IGNORED, next_tokens
from fedkrso_core.lean.masks import masks_of_a_batch


@dataclass(frozen=True)
class Part:
    """Rows of a batch, and what they count for of what the batch does; None: they are the batch."""

    batch: dict[str, Tensor]
    counted: Tensor | None = None
    total: Tensor | None = None

    def weigh(self, loss: Tensor) -> Tensor:
        """(n_i / n) L_i; 0 of a part that counts nothing, whose mean is 0 / 0."""
        if self.counted is None or self.total is None:
            return loss
        known = torch.where(self.counted > 0, loss, torch.zeros_like(loss))
        return known * (self.counted / self.total)


def parts_of(batch: dict[str, Tensor], rows: int | None) -> Iterator[Part]:
    """The batch in parts of at most so many rows, in order; None, or as many: the batch itself."""
    if rows is None or rows >= (count := len(batch["labels"])):
        yield Part(batch)
        return
    counts = _counts(batch["labels"])
    starts = range(0, count, rows)
    with masks_of_a_batch(count) as masks:
        for start in starts:
            stop = min(start + rows, count)
            masks.begin(start, stop)
            part = {name: tensor[start:stop] for name, tensor in batch.items()}
            yield Part(part, counts[start:stop].sum(), counts.sum().clamp(min=1))


def _counts(labels: Tensor) -> Tensor:
    """(n,): what the labels of each row count for, as float32."""
    if labels.is_floating_point():
        return labels.new_ones(len(labels), dtype=torch.float32)
    counted = (next_tokens(labels) if labels.dim() == 2 else labels[:, None]) != IGNORED
    return counted.sum(1).float()
