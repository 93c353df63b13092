"""From the columns of a table to Examples: every column checked, every label brought into form."""

from __future__ import annotations

from fedkrso_core.data import labels, prompts
from fedkrso_core.data.examples import Examples
from fedkrso_core.data.refusal import refused
from fedkrso_core.data.sources import Table
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.tasks import TaskName


def to_examples(
    table: Table,
    spec: DataSpec,
    group_column: str | None = None,
    names: tuple[str, ...] | None = None,
    task: TaskName = "classification",
    labelled: bool = True,
) -> Examples:
    """The rows of a table; `names` are the label names to map into, else they are the table's own.

    `labelled` says whether the rows of causal-lm need labels, to be divided by.

    Raises:
        SpecError: columns that are missing, texts or labels that are missing or of another kind,
            labels that are not in `names`, or fewer than two labels.
    """
    asked = _columns(spec, group_column, task, labelled)
    _require_columns(table, asked, task)
    found, names = _labels(table, spec, names, task) if "data.label" in asked else ([], ())
    return Examples(
        texts=_learnt(table, spec.text) if task == "causal-lm" else _texts(table, spec.text),
        pairs=_texts(table, spec.text_pair, "data.text_pair") if spec.text_pair else None,
        labels=found,
        label_names=names,
        groups=_texts(table, group_column, "partition.column") if group_column else None,
        prompts=_prompts(table, spec.prompt) if spec.prompt else None,
    )


def _columns(
    spec: DataSpec, group_column: str | None, task: TaskName, labelled: bool
) -> dict[str, list[str]]:
    """The columns that are needed, by the field that asks for them."""
    if task != "causal-lm" and spec.prompt is not None:
        message = f"{spec.prompt!r}: {task} has no prompt; name a second text as data.text_pair"
        raise refused("data.prompt", message, spec.prompt)
    if task == "causal-lm" and spec.text_pair is not None:
        message = f"{spec.text_pair!r}: causal-lm has no pairs; name what comes first data.prompt"
        raise refused("data.text_pair", message, spec.text_pair)
    asked = {
        "data.text": [spec.text],
        "data.text_pair": [spec.text_pair] if spec.text_pair else [],
        "data.prompt": prompts.columns_of(spec.prompt) if spec.prompt else [],
        "data.label": [spec.label] if labelled or task != "causal-lm" else [],
        "partition.column": [group_column] if group_column else [],
    }
    return {field: columns for field, columns in asked.items() if columns}


def _require_columns(table: Table, asked: dict[str, list[str]], task: TaskName) -> None:
    there = ", ".join(table.columns)
    problems = [
        Problem(field, f"{column!r} is not a column of {table.source}; it has: {there}", column)
        for field, columns in asked.items()
        for column in columns
        if column not in table.columns
    ]
    if task == "causal-lm":
        problems = [_without_label(problem) for problem in problems]
    if problems:
        raise SpecError(problems)


def _without_label(problem: Problem) -> Problem:
    if problem.field != "data.label":
        return problem
    remedy = "only this partition needs a label; take iid or by-column"
    return Problem(problem.field, f"{problem.message}; {remedy}", problem.value)


def _labels(
    table: Table, spec: DataSpec, names: tuple[str, ...] | None, task: TaskName
) -> tuple[list[int] | list[float], tuple[str, ...]]:
    if task == "regression":
        return labels.numbers(table, spec.label), ()
    return labels.codes(table, spec.label, names)


def _texts(table: Table, column: str | None, where: str = "data.text") -> list[str]:
    assert column is not None
    values = table.column(column)
    for row, value in enumerate(values, start=1):
        if value is None:
            raise refused(where, f"row {row} of {table.source} has no {column!r}", column)
        if not isinstance(value, str | int | float):
            kind = type(value).__name__
            raise refused(where, f"{column!r} of {table.source} holds {kind}, not text", column)
    return [str(value) for value in values]


def _learnt(table: Table, column: str) -> list[str]:
    """Texts with something in them: an empty one has no token to learn."""
    texts = _texts(table, column)
    for row, text in enumerate(texts, start=1):
        if not text.strip():
            raise refused("data.text", f"row {row} of {table.source} has no {column!r}", column)
    return texts


def _prompts(table: Table, template: str) -> list[str]:
    def column(name: str) -> list[str]:
        classes = table.classes.get(name)
        if classes is None:
            return _texts(table, name, "data.prompt")
        return [classes[code] for code in table.column(name)]

    return prompts.filled(template, column, table.rows)
