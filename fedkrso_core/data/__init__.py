"""The rows of a job: read from their source, sampled, and split into train and validation."""

from __future__ import annotations

import numpy as np

from fedkrso_core.data import sources
from fedkrso_core.data.columns import to_examples
from fedkrso_core.data.examples import Examples
from fedkrso_core.data.sources import BUILTIN
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.seeds import generator
from fedkrso_core.spec import DataSpec

__all__ = ["BUILTIN", "Examples", "load"]

HELD_OUT = 10  # one row in so many is held out for validation


def load(spec: DataSpec, seed: int, group_column: str | None = None) -> tuple[Examples, Examples]:
    """Train and validation rows of a job; `group_column` fills the groups of train.

    Train is sampled down to `max_rows` first. Without a validation source, a tenth of those rows
    (at least one) is then held out, never the last row of its label. Both keep the source's order.

    Raises:
        SpecError: what the job file says about the data does not fit the data.
    """
    table = sources.read(spec.train, "data.train", split="train")
    train = _sample(to_examples(table, spec, group_column), spec.max_rows, seed)
    if spec.validation is None:
        return _hold_out(train, seed)
    held = sources.read(spec.validation, "data.validation", split="validation")
    return train, to_examples(held, spec, names=train.label_names)


def _sample(examples: Examples, max_rows: int | None, seed: int) -> Examples:
    if max_rows is None or max_rows >= len(examples):
        return examples
    rng = generator(seed, "data.sample")
    return examples.select(np.sort(rng.permutation(len(examples))[:max_rows]))


def _hold_out(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    order = generator(seed, "data.holdout").permutation(len(examples))
    _, first = np.unique(np.array(examples.labels)[order], return_index=True)
    # the first row of each label stays in train, so that no label is new to the validation
    free = np.delete(order, first)
    if len(free) == 0:
        message = f"none of {len(examples)} rows can be held out: each label has a single row"
        raise SpecError([Problem("data.validation", f"{message}; name a validation source")])
    held = np.sort(free[: max(1, len(examples) // HELD_OUT)])
    kept = np.setdiff1d(order, held)
    return examples.select(kept), examples.select(held)
