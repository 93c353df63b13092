"""Dropout masks, drawn as torch draws them, and for a whole batch when it is computed in parts.

The first part draws each mask for all rows of the batch, as a step without parts would, and keeps
it as bits; later parts take their rows of it. So a step draws the same random numbers, whatever its
parts. What a checkpoint computes again takes its masks again, by their place in the part's order.

What is dropped out has the rows of the batch as its first dimension, or a multiple of them; a part
draws its own masks of anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from fedkrso_core.lean.bits import pack_bits, unpack_bits


class Masks:
    """The masks of a batch of `rows`, in the order in which each part draws them."""

    def __init__(self, rows: int) -> None:
        self.rows, self.place = rows, 0
        self._drawn: list[dict[int, Tensor]] = []  # by place and part: bits
        self._parts: list[int] = []  # rows of each part so far

    def begin(self, start: int, stop: int) -> None:
        """From here on, masks are of these rows."""
        self._parts.append(stop - start)
        self.place = 0

    def bits(self, mask: Tensor, keep: float) -> Tensor:
        """The bits of the next mask, which has this shape."""
        if self.place == len(self._drawn):
            self._drawn.append(self._of_all_rows(mask, keep))
        known, part = self._drawn[self.place], len(self._parts) - 1
        self.place += 1
        size = math.ceil(mask.numel() / 8)
        if part not in known or known[part].numel() != size:  # not by rows: the part's own
            known[part] = pack_bits(mask.bernoulli_(keep))
        return known[part]

    def _of_all_rows(self, mask: Tensor, keep: float) -> dict[int, Tensor]:
        per_row, rest = divmod(len(mask), self._parts[0])
        if rest or len(self._parts) > 1:
            return {}
        whole = mask.new_empty((self.rows * per_row, *mask.shape[1:])).bernoulli_(keep)
        parts = torch.split(whole, self._parts[0] * per_row)
        return {i: pack_bits(part) for i, part in enumerate(parts)}


_masks: ContextVar[Masks | None] = ContextVar("masks", default=None)


@contextmanager
def masks_of_a_batch(rows: int) -> Iterator[Masks]:
    """Inside the block, `draw` gives the masks of a batch of so many rows part by part."""
    token = _masks.set(Masks(rows))
    try:
        found = _masks.get()
        assert found is not None
        yield found
    finally:
        _masks.reset(token)


def draw(mask: Tensor, keep: float) -> Tensor:
    """Fills a bool mask with ones of probability `keep`; the same as bits is returned."""
    masks = _masks.get()
    if masks is None:
        return pack_bits(mask.bernoulli_(keep))
    bits = masks.bits(mask, keep)
    mask.copy_(unpack_bits(bits, mask.shape))
    return bits


def repeatable(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, with the masks of its first time each time that it is called."""
    masks = _masks.get()
    if masks is None:
        return call
    place = masks.place

    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        masks.place = place
        return call(*args, **kwargs)

    return run
