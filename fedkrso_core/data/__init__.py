"""The rows of a job: read from their source, sampled, and split into train and validation."""

from __future__ import annotations

import numpy as np

from fedkrso_core.data import sources
from fedkrso_core.data.columns import to_examples
from fedkrso_core.data.examples import Examples
from fedkrso_core.data.sources import BUILTIN
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.seeds import generator
from fedkrso_core.tasks import TaskName

__all__ = ["BUILTIN", "Examples", "load"]

HELD_OUT = 10  # one row in so many is held out for validation


def load(
    spec: DataSpec,
    seed: int,
    group_column: str | None = None,
    task: TaskName = "classification",
    labelled: bool = True,
) -> tuple[Examples, Examples]:
    """Train and validation rows of a job; `group_column` fills the groups of train.

    `labelled` says whether the rows of causal-lm are divided by label and so need one. Train is
    sampled down to `max_rows` first. Without a validation source, a tenth of those rows (at least
    one) is then held out, never the last row of a class. Both keep the source's order.

    Raises:
        SpecError: what the job file says about the data does not fit the data.
    """
    table = sources.read(spec.train, "data.train", split="train")
    everything = to_examples(table, spec, group_column, task=task, labelled=labelled)
    train = _sample(everything, spec.max_rows, seed)
    if spec.validation is None:
        return _hold_out(train, seed, by_class=task == "classification")
    held = sources.read(spec.validation, "data.validation", split="validation")
    return train, to_examples(held, spec, names=train.label_names, task=task, labelled=False)


def _sample(examples: Examples, max_rows: int | None, seed: int) -> Examples:
    if max_rows is None or max_rows >= len(examples):
        return examples
    rng = generator(seed, "data.sample")
    return examples.select(np.sort(rng.permutation(len(examples))[:max_rows]))


def _hold_out(examples: Examples, seed: int, by_class: bool) -> tuple[Examples, Examples]:
    order = generator(seed, "data.holdout").permutation(len(examples))
    # the first row of each label stays in train, so that no label is new to the validation
    kinds = np.array(examples.labels)[order] if by_class else np.zeros(len(order))
    free = np.delete(order, np.unique(kinds, return_index=True)[1])
    if len(free) == 0:
        alone = "each label has a single row" if by_class else "train needs one"
        message = f"none of {len(examples)} rows can be held out: {alone}"
        raise SpecError([Problem("data.validation", f"{message}; name a validation source")])
    held = np.sort(free[: max(1, len(examples) // HELD_OUT)])
    kept = np.setdiff1d(order, held)
    return examples.select(kept), examples.select(held)
