"""The prompt of each row: a column, or a template that is filled with columns."""

from __future__ import annotations

import re
from collections.abc import Callable

_HOLE = re.compile(r"\{(\w+)\}")


def columns_of(template: str) -> list[str]:
    """The columns that `data.prompt` names, each once: "{question}" and "question" name one."""
    return list(dict.fromkeys(_HOLE.findall(_as_template(template))))


def filled(template: str, column: Callable[[str], list[str]], rows: int) -> list[str]:
    """The prompt of each row; a column's name alone stands for it with a line break after it.

    What is not {column} stays as it is written.
    """
    values = {name: column(name) for name in columns_of(template)}
    pattern = _as_template(template)

    def fill(row: int) -> str:
        return _HOLE.sub(lambda hole: values[hole[1]][row], pattern)

    return [fill(row) for row in range(rows)]


def _as_template(prompt: str) -> str:
    return prompt if "{" in prompt else f"{{{prompt}}}\n"
