"""From the columns of a table to Examples: every column checked, every label mapped to a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fedkrso_core.data.examples import Examples
from fedkrso_core.data.sources import Table
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.spec import DataSpec

LISTED = 10  # values that an error message spells out


def to_examples(
    table: Table,
    spec: DataSpec,
    group_column: str | None = None,
    names: tuple[str, ...] | None = None,
) -> Examples:
    """The rows of a table; `names` are the label names to map into, else they are the table's own.

    Raises:
        SpecError: columns that are missing, texts or labels that are missing or of another kind,
            labels that are not in `names`, or fewer than two labels.
    """
    _require_columns(table, spec, group_column)
    keys = _label_keys(table, spec.label)
    names = names or _label_names(table, spec.label, keys)
    return Examples(
        texts=_texts(table, "data.text", spec.text),
        pairs=_texts(table, "data.text_pair", spec.text_pair) if spec.text_pair else None,
        labels=_codes(table, keys, names),
        label_names=names,
        groups=_texts(table, "partition.column", group_column) if group_column else None,
    )


def _require_columns(table: Table, spec: DataSpec, group_column: str | None) -> None:
    wanted = {
        "data.text": spec.text,
        "data.text_pair": spec.text_pair,
        "data.label": spec.label,
        "partition.column": group_column,
    }
    there = ", ".join(table.columns)
    problems = [
        Problem(where, f"{column!r} is not a column of {table.source}; it has: {there}", column)
        for where, column in wanted.items()
        if column is not None and column not in table.columns
    ]
    if problems:
        raise SpecError(problems)


def _texts(table: Table, where: str, column: str) -> list[str]:
    values = table.column(column)
    for row, value in enumerate(values, start=1):
        if value is None:
            raise _refused(where, f"row {row} of {table.source} has no {column!r}", column)
        if not isinstance(value, str | int | float):
            kind = type(value).__name__
            raise _refused(where, f"{column!r} of {table.source} holds {kind}, not text", column)
    return [str(value) for value in values]


def _label_keys(table: Table, column: str) -> list[Any]:
    """The labels as they are written, with codes of a class column replaced by their names."""
    values = table.column(column)
    for row, value in enumerate(values, start=1):
        if value is None or value == "" or value == -1:  # -1: the hub's mark of unlabelled rows
            message = f"row {row} of {table.source} has no label ({column!r} is {value!r})"
            raise _refused("data.label", message, column)
    kinds = sorted({type(value).__name__ for value in values})
    if kinds not in (["int"], ["str"], ["bool"]):
        allowed = "allowed: integers or strings, not both"
        message = f"{column!r} of {table.source} holds {' and '.join(kinds)}; {allowed}"
        raise _refused("data.label", message, column)
    classes = table.classes.get(column)
    return values if classes is None else [classes[code] for code in values]


def _label_names(table: Table, column: str, keys: list[Any]) -> tuple[str, ...]:
    found = sorted(set(keys))  # before they become text: 9 comes before 10
    if len(found) < 2:
        message = f"{column!r} of {table.source} holds only {found[0]!r}; at least 2 labels needed"
        raise _refused("data.label", message, column)
    return table.classes.get(column) or tuple(map(str, found))


def _codes(table: Table, keys: list[Any], names: tuple[str, ...]) -> list[int]:
    codes = {name: code for code, name in enumerate(names)}
    unknown = sorted({str(key) for key in keys} - codes.keys())
    if unknown:
        allowed = f"train has {_listed(names)}"
        message = f"{table.source} has labels that train lacks: {_listed(unknown)}; {allowed}"
        raise _refused("data.validation", message, table.source)
    return [codes[str(key)] for key in keys]


def _listed(values: Iterable[str]) -> str:
    values = list(values)
    rest = len(values) - LISTED
    return ", ".join(values[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _refused(where: str, message: str, value: str) -> SpecError:
    return SpecError([Problem(where, message, value)])
