"""Small files of rows, and what is said when one cannot be used."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.data import load
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import Problem, SpecError

TEN: list[dict[str, Any]] = [
    {"text": f"text {row}", "label": "ab"[row % 2], "owner": row // 3} for row in range(10)
]


def jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(path: Path, *labels: Any) -> str:
    return jsonl(path, [{"text": f"text {label}", "label": label} for label in labels])


def problem(spec: DataSpec, group_column: str | None = None) -> Problem:
    with pytest.raises(SpecError) as refused:
        load(spec, 0, group_column)
    return refused.value.problems[0]
