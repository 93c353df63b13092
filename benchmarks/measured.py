"""Writes the table of measured methods, as docs/benchmarks.md has it, for the dashboard.

    python benchmarks/measured.py

That of every method as soon as it is there, else that of the four. The tests compare both.
"""

from __future__ import annotations

import csv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTED = ROOT / "docs" / "benchmarks.md"
SHOWN = ROOT / "dashboard" / "measured.csv"
SECTIONS = ("SST-2, every method", "SST-2, four methods")
_FINISHED = 3  # a method that is not finished has a row with less than this


def table(text: str) -> list[list[str]]:
    """Header and rows of the first table with losses of the first of the sections that has one."""
    for section in SECTIONS:
        there = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        for block in there.split("\n\n"):
            if found := _rows(block):
                return found
    raise SystemExit(f"{DOCUMENTED} has no table of methods under {' or '.join(SECTIONS)}")


def _rows(block: str) -> list[list[str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in block.splitlines()
        if line.startswith("|") and not line.startswith("|-")
    ]
    if not rows or not {"method", "loss"} <= set(rows[0]):
        return []  # no table, or a forecast
    whole = [row for row in rows if len(row) == len(rows[0]) and sum(map(bool, row)) >= _FINISHED]
    return whole if len(whole) > 1 else []


def main() -> None:
    """Writes the file."""
    with SHOWN.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table(DOCUMENTED.read_text("utf-8")))


if __name__ == "__main__":
    main()
