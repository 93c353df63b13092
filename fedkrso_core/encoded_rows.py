"""Token ids of rows, kept for the next time: rows come again in each epoch and each evaluation."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# of all rows that are kept, 4 bytes each for every name that the tokenizer gives
_MOST_TOKENS = 1_000_000
_Row = tuple[str, str | None]


class EncodedRows:
    """What a tokenizer makes of texts, or of pairs of them, cut at `max_length` tokens."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._known: dict[_Row, dict[str, array[int]]] = {}
        self._tokens = 0

    def batch(self, texts: Sequence[str], pairs: Sequence[str] | None) -> dict[str, Tensor]:
        """What `tokenizer(..., padding=True, return_tensors="pt")` gives: each (n, longest)."""
        seconds: Sequence[str | None] = pairs or [None] * len(texts)
        rows: list[_Row] = list(zip(texts, seconds, strict=True))
        fresh = list(dict.fromkeys(row for row in rows if row not in self._known))
        made = self._encoded(fresh) if fresh else {}
        found = [made.get(row) or self._known[row] for row in rows]
        self._keep(made)
        return {name: self._padded([row[name] for row in found], name) for name in found[0]}

    def _encoded(self, rows: list[_Row]) -> dict[_Row, dict[str, array[int]]]:
        seconds = [second for _, second in rows if second is not None]
        encoded = self._tokenizer(
            [first for first, _ in rows],
            seconds or None,
            truncation=True,
            max_length=self._max_length,
        )
        return {
            row: {name: array("i", values[i]) for name, values in encoded.items()}
            for i, row in enumerate(rows)
        }

    def _keep(self, made: dict[_Row, dict[str, array[int]]]) -> None:
        new = sum(len(row["input_ids"]) for row in made.values())
        if self._tokens + new > _MOST_TOKENS:  # of so many rows few come again soon
            self._known, self._tokens = {}, 0
        self._known |= made
        self._tokens += new

    def _padded(self, rows: Sequence[array[int]], name: str) -> Tensor:
        tokenizer, longest = self._tokenizer, max(map(len, rows))
        fill = {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
        }.get(name, 0)
        left = tokenizer.padding_side == "left"
        padding = [[fill] * (longest - len(row)) for row in rows]
        both = zip(rows, padding, strict=True)
        return torch.tensor([[*more, *row] if left else [*row, *more] for row, more in both])
