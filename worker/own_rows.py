"""The rows of an external client: read from its file, mapped to a job's labels, split in two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedkrso_core.data import sources
from fedkrso_core.data.columns import to_examples
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import CoreError
from fedkrso_core.seeds import generator
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Shares

_LISTED = 10


class UnknownLabels(CoreError):
    """Rows have labels that the job lacks; `summary` says so without naming them."""

    def __init__(self, message: str, summary: str) -> None:
        super().__init__(message)
        self.summary = summary


@dataclass(frozen=True)
class OwnRows:
    """A file of rows and its columns; `holdout` is the share that no training sees."""

    path: Path
    text: str
    label: str | None = None  # none: rows of causal-lm
    text_pair: str | None = None
    holdout: float = 0.1

    def check(self) -> int:
        """How many rows there are; SpecError if the file or a column is missing."""
        table = sources.read(str(self.path), "--data", split="train")
        for column in filter(None, (self.text, self.label, self.text_pair)):
            if column not in table.columns:
                there = ", ".join(table.columns)
                raise CoreError(f"{self.path}: there is no column {column!r}; it has: {there}")
        return table.rows

    def shares(self, spec: JobSpec, labels: list[str], client: int) -> Shares:
        """Train and hold-out rows as the job wants them; CoreError if they do not fit.

        The hold-out is drawn from the job's seed: the same in every round.
        """
        if (spec.data.text_pair is None) != (self.text_pair is None):
            raise CoreError("the job is about pairs of texts, or these rows are, but not both")
        table = sources.read(str(self.path), "--data", split="train")
        if spec.task != "causal-lm" and self.label is None:
            raise CoreError(f"a job of {spec.task} needs rows with labels: name their column")
        if spec.task == "classification":
            self._require_known(table, labels)
        columns = DataSpec(
            train=str(self.path),
            text=self.text,
            label=self.label or "label",
            text_pair=self.text_pair,
            prompt=spec.data.prompt,  # of columns that these rows must have too
        )
        names = tuple(labels) or None
        examples = to_examples(table, columns, names=names, task=spec.task, labelled=False)
        order = generator(spec.seed, "own-rows.holdout").permutation(len(examples))
        held = int(len(examples) * self.holdout)
        kept, out = np.sort(order[held:]), np.sort(order[:held])
        rows = {client: np.arange(len(kept))}
        return Shares(examples.select(kept), examples.select(out), rows)

    def _require_known(self, table: sources.Table, labels: list[str]) -> None:
        assert self.label is not None
        classes = table.classes.get(self.label)
        values = [str(classes[v] if classes else v) for v in table.column(self.label)]
        unknown = [(row, value) for row, value in enumerate(values, 1) if value not in labels]
        if not unknown:
            return
        more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
        allowed = ", ".join(labels[:_LISTED]) + more
        (row, value), count = unknown[0], len(unknown)
        raise UnknownLabels(
            f"{self.path}: row {row} has {self.label} {value!r}, one of {count} rows whose label "
            f"the job does not have; allowed: {allowed}",
            f"{count} of {len(values)} rows have labels that the job does not have",
        )
