"""The registry's methods in words and tables. Pure, and free of Streamlit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dashboard import words
from dashboard.form_field import Field
from dashboard.form_schema import fields

Json = Mapping[str, Any]
MEASURED = Path(__file__).with_name("measured.csv")


def paper_link(paper: str) -> str:
    """The paper as markdown: a link where it names arXiv, else its name."""
    found = re.fullmatch(r"arXiv (\d{4}\.\d{4,5})", paper)
    return f"[{paper}](https://arxiv.org/abs/{found[1]})" if found else words.plain(paper)


def options_table(method: Json) -> pd.DataFrame:
    """A row for each option of a method: its default, what is allowed, what it does."""
    rows = [
        {
            "Option": field.path,
            "Default": _value(field.default),
            "Allowed": _allowed(field),
            "Meaning": field.description,
        }
        for field in fields(method["config"])
    ]
    return pd.DataFrame(rows, columns=["Option", "Default", "Allowed", "Meaning"])


def matching(methods: Sequence[Json], text: str) -> list[Json]:
    """Those that have the text in their name or in what is said of them."""
    needle = text.strip().lower()
    named = ("name", "title", "summary", "paper", "traffic")
    return [m for m in methods if any(needle in str(m.get(name, "")).lower() for name in named)]


def measured() -> pd.DataFrame:
    """The measured table of docs/benchmarks.md, as benchmarks/measured.py takes it from there."""
    return pd.read_csv(MEASURED)


def _allowed(field: Field) -> str:
    if field.options:
        return ", ".join(_value(option) for option in field.options)
    return field.allowed or {"integer": "whole number", "number": "number"}.get(field.kind, "")


def _value(value: Any) -> str:
    if value is None:
        return words.NOTHING
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
