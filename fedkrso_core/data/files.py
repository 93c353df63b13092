"""Rows of JSON lines and of separated values, read with the standard library alone.

A client's process holds its rows anyway; the `datasets` library, which would read these files too,
costs 80 MB and seconds beside them.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

Columns = dict[str, list[Any]]


def read_jsonl(path: Path) -> Columns:
    """The columns of a file with a JSON object on each line; gzipped if its name ends in .gz.

    The columns are those of all rows in the order in which they first come; a row without one
    holds None there.

    Raises:
        ValueError: a line is not JSON or not an object; it names the line.
        OSError: the file cannot be read.
    """
    with _text(path) as file:
        rows = [row for line, text in enumerate(file, 1) if (row := _object(line, text))]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _object(line: int, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        row = json.loads(text)
    except ValueError as error:
        raise ValueError(f"line {line} is not JSON: {error}") from None
    if not isinstance(row, dict) or not row:
        raise ValueError(f"line {line} is not an object with columns: {text.strip()[:60]}")
    return row


def read_separated(path: Path, separator: str) -> Columns:
    """The columns of a file of separated values with a header.

    Every value is text ("NA" and "null" are words), but for columns that hold nothing but integers.

    Raises:
        ValueError: no header, a name twice, a row of another length, an open quote; it names
            the line.
        OSError: the file cannot be read.
    """
    # the standard library's limit for one value is 128 kB, less than a long document
    csv.field_size_limit(2**31 - 1)
    with _text(path, newline="") as file:
        lines = _records(csv.reader(file, delimiter=separator, strict=True))
        _, header = next(lines, (1, []))
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ValueError(f"the header names {', '.join(map(repr, twice))} twice")
        columns: list[list[str]] = [[] for _ in header]
        for line, values in lines:
            if len(values) != len(header):
                wrong = f"line {line} has {len(values)} values"
                raise ValueError(f"{wrong}, the header has {len(header)} names")
            for column, value in zip(columns, values, strict=True):
                column.append(value)
    return {name: _integers(column) for name, column in zip(header, columns, strict=True)}


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(last line, values) of each record that is not an empty line."""
    try:
        for values in reader:
            if values:
                yield reader.line_num, values
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _integers(column: list[str]) -> list[Any]:
    """The column as integers if it holds nothing else, each written as Python would."""
    try:
        numbers = list(map(int, column))
    except ValueError:
        return column
    return numbers if list(map(str, numbers)) == column else column


def _text(path: Path, newline: str | None = None) -> TextIO:
    # programs of spreadsheets begin a file with a byte order mark
    as_text: dict[str, Any] = {"encoding": "utf-8-sig", "newline": newline}
    opened: Callable[..., TextIO] = gzip.open if path.name.lower().endswith(".gz") else open
    return opened(path, "rt", **as_text)


READERS: dict[str, Callable[[Path], Columns]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".csv": lambda path: read_separated(path, ","),
    ".tsv": lambda path: read_separated(path, "\t"),
}
