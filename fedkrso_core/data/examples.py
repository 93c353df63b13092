"""Examples: labelled texts in memory, the only form in which rows reach a model or a client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Examples:
    """Labelled texts, one entry of each list for a row.

    `pairs` are the second texts of a pair task, and `groups` names the owner of each row where the
    partition asks for one. `labels` index `label_names`; of regression they are the numbers
    themselves, and `label_names` is empty. Of causal-lm, `prompts` stand before the texts, and
    labels are there only where the partition divides by them.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: Sequence[float]
    label_names: tuple[str, ...]
    groups: list[str] | None = None
    prompts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Iterable[int]) -> Examples:
        """The rows at `indices`, in that order; the label names stay as they are."""
        rows = [int(index) for index in indices]

        def chosen(column: list[str] | None) -> list[str] | None:
            return None if column is None else [column[row] for row in rows]

        return Examples(
            texts=[self.texts[row] for row in rows],
            pairs=chosen(self.pairs),
            labels=[self.labels[row] for row in rows] if self.labels else [],
            label_names=self.label_names,
            groups=chosen(self.groups),
            prompts=chosen(self.prompts),
        )

    def label_histogram(self) -> list[int]:
        """Rows of each label, in the order of `label_names`; zeros included."""
        counts = [0] * len(self.label_names)
        for label in self.labels:
            counts[int(label)] += 1
        return counts

    @cached_property
    def sha256(self) -> str:
        """Hex digest of every field: equal digests mean equal rows in the same order."""
        fields: list[Any] = [self.texts, self.pairs, self.labels, self.label_names, self.groups]
        if self.prompts is not None:  # rows without prompts keep the digest that they always had
            fields.append(self.prompts)
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
