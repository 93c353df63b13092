"""The finished runs of sweeps: a line of JSON for each, by the job that it has run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plan import Json, Run, Stage, Sweep, final, tuning


class Ledger:
    """Finished runs. A file that is committed can be gone on with on another machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self._known = {line["key"]: line for line in map(json.loads, text.splitlines())}

    def of(self, run: Run) -> Json | None:
        """The line of a run; None if it is not finished."""
        return self._known.get(run.key)

    def add(self, run: Run, found: Json) -> None:
        """Keeps what came of a run."""
        names = ("stage", "task", "split", "method", "lr", "seed")
        line = {"key": run.key, **{name: getattr(run, name) for name in names}, **found}
        self._known[run.key] = line
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")


def best_rate(sweep: Sweep, ledger: Ledger, cell: tuple[str, str, str]) -> float | None:
    """The rate with the smallest held-out loss; None while one of the cell's is not tried."""
    runs = tuning(sweep, *cell)
    if not runs:
        return sweep.methods[cell[2]].lr[0]
    lines = [ledger.of(run) for run in runs]
    if any(line is None for line in lines):
        return None
    learnt = {run.lr: line["metrics"]["loss"] for run, line in zip(runs, lines, strict=True)
              if line and "metrics" in line}  # fmt: skip
    return min(learnt, key=lambda lr: learnt[lr]) if learnt else None


def finals(sweep: Sweep, ledger: Ledger, cell: tuple[str, str, str]) -> list[Json]:
    """The finished final runs of a cell, in the order of their seeds."""
    lr = best_rate(sweep, ledger, cell)
    lines = [] if lr is None else [ledger.of(run) for run in final(sweep, *cell, lr)]
    return [line for line in lines if line and "metrics" in line]


def missing(sweep: Sweep, ledger: Ledger, cells: Sequence[tuple[str, str, str]]) -> list[Run]:
    """What can be run now: rates that are not tried, and finals of cells whose rate is chosen.

    Seed by seed, so that a sweep that is stopped has whole comparisons.
    """
    wanted: list[Run] = []
    for cell in cells:
        lr = best_rate(sweep, ledger, cell)
        wanted += tuning(sweep, *cell) if lr is None else final(sweep, *cell, lr)
    order: dict[Stage, int] = {"tune": 0, "final": 1}
    left = [run for run in wanted if ledger.of(run) is None]
    return sorted(left, key=lambda run: (order[run.stage], _place(sweep, run)))


def _place(sweep: Sweep, run: Run) -> Any:
    seeds = sweep.splits[run.split].seeds or sweep.seeds
    return seeds.index(run.seed) if run.stage == "final" else 0
