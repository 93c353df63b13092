"""Examples: labelled texts in memory, the only form in which rows reach a model or a client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Examples:
    """Labelled texts, one entry of each list for a row.

    `pairs` are the second texts of a pair task, `labels` index `label_names`, and `groups` names
    the owner of each row where the partition asks for one.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list[int]
    label_names: tuple[str, ...]
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Iterable[int]) -> Examples:
        """The rows at `indices`, in that order; the label names stay as they are."""
        rows = [int(index) for index in indices]
        return Examples(
            texts=[self.texts[row] for row in rows],
            pairs=None if self.pairs is None else [self.pairs[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            label_names=self.label_names,
            groups=None if self.groups is None else [self.groups[row] for row in rows],
        )

    def label_histogram(self) -> list[int]:
        """Rows of each label, in the order of `label_names`; zeros included."""
        counts = [0] * len(self.label_names)
        for label in self.labels:
            counts[label] += 1
        return counts

    @cached_property
    def sha256(self) -> str:
        """Hex digest of every field: equal digests mean equal rows in the same order."""
        fields = [self.texts, self.pairs, self.labels, self.label_names, self.groups]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
