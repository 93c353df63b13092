"""The label column: codes of named classes, or numbers to predict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fedkrso_core.data.refusal import refused
from fedkrso_core.data.sources import Table

LISTED = 10  # values that an error message spells out


def codes(
    table: Table, column: str, names: tuple[str, ...] | None
) -> tuple[list[int], tuple[str, ...]]:
    """The label of each row as an index, and the names of the labels.

    Raises:
        SpecError: labels that are missing, of several kinds, not in `names`, or fewer than two.
    """
    keys = _keys(table, column)
    names = names or _names(table, column, keys)
    return _indices(table, keys, names), names


def numbers(table: Table, column: str) -> list[float]:
    """The number of each row; text that is a number counts as one.

    Raises:
        SpecError: a row whose value is no finite number.
    """
    found = []
    for row, value in enumerate(table.column(column), start=1):
        number = None if column in table.classes else _number(value)
        if number is None:
            message = f"row {row} of {table.source} has {value!r} as {column!r}"
            raise refused("data.label", f"{message}; regression needs a finite number", column)
        found.append(number)
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _keys(table: Table, column: str) -> list[Any]:
    """The labels as they are written, with codes of a class column replaced by their names."""
    values = table.column(column)
    for row, value in enumerate(values, start=1):
        if value is None or value == "" or value == -1:  # -1: the hub's mark of unlabelled rows
            message = f"row {row} of {table.source} has no label ({column!r} is {value!r})"
            raise refused("data.label", message, column)
    kinds = sorted({type(value).__name__ for value in values})
    if kinds not in (["int"], ["str"], ["bool"]):
        allowed = "allowed: integers or strings, not both"
        if set(kinds) <= {"int", "float"}:
            allowed += "; for numbers to predict, task: regression"
        message = f"{column!r} of {table.source} holds {' and '.join(kinds)}; {allowed}"
        raise refused("data.label", message, column)
    classes = table.classes.get(column)
    return values if classes is None else [classes[code] for code in values]


def _names(table: Table, column: str, keys: list[Any]) -> tuple[str, ...]:
    found = sorted(set(keys))  # before they become text: 9 comes before 10
    if len(found) < 2:
        message = f"{column!r} of {table.source} holds only {found[0]!r}; at least 2 labels needed"
        raise refused("data.label", message, column)
    return table.classes.get(column) or tuple(map(str, found))


def _indices(table: Table, keys: list[Any], names: tuple[str, ...]) -> list[int]:
    known = {name: code for code, name in enumerate(names)}
    unknown = sorted({str(key) for key in keys} - known.keys())
    if unknown:
        allowed = f"train has {_listed(names)}"
        message = f"{table.source} has labels that train lacks: {_listed(unknown)}; {allowed}"
        raise refused("data.validation", message, table.source)
    return [known[str(key)] for key in keys]


def _listed(values: Iterable[str]) -> str:
    values = list(values)
    rest = len(values) - LISTED
    return ", ".join(values[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
