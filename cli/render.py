"""Plain JSON to what a terminal shows; nothing here reads, waits or prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]
NONE = "-"
METRIC = "accuracy"  # the headline of jobs whose server names none
_STYLES = {
    "done": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "paused": "magenta",
}


@dataclass(frozen=True)
class Board:
    """A job as it stands, from the server or from a run in this process."""

    name: str
    state: str
    rounds: int
    closed: Sequence[Json] = ()
    open_round: int | None = None
    clients: int = 0
    clients_done: int = 0
    steps: int = 0
    steps_done: int = 0
    note: str = ""
    metric: str = METRIC


def columns(metric: str) -> tuple[str, ...]:
    """The columns of a table of rounds; `metric` is the headline of the job's task."""
    return ("round", metric, "loss", "up", "down", "peak memory", "seconds")


def board(job: Board, rows: int | None = None) -> RenderableType:
    """Bars of the job and of its open round above the table of its last `rows` rounds."""
    shown = job.closed if rows is None else job.closed[-rows:]
    parts: list[RenderableType] = [_bars(job)]
    if job.note:
        parts.append(Text(job.note, style="yellow"))
    return Group(*parts, rounds_table(shown, job.metric)) if shown else Group(*parts)


def _bars(job: Board) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        Text(job.name, style="bold"),
        ProgressBar(total=max(job.rounds, 1), completed=len(job.closed), width=32),
        f"{len(job.closed)}/{job.rounds} rounds",
        Text(job.state, style=_STYLES.get(job.state, "")),
    )
    if job.open_round is not None:
        grid.add_row(
            f"round {job.open_round}",
            ProgressBar(total=max(job.steps, 1), completed=job.steps_done, width=32),
            f"{job.clients_done}/{job.clients} clients",
            f"{job.steps_done}/{job.steps} steps" if job.steps else "",
        )
    return grid


def rounds_table(rounds: Sequence[Json], metric: str = METRIC) -> Table:
    """A row for each round."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in columns(metric):
        table.add_column(name, justify="right")
    for round_ in rounds:
        table.add_row(*round_cells(round_, metric))
    return table


def round_cells(round_: Json, metric: str = METRIC) -> tuple[str, ...]:
    """What stands under `columns` for a round."""
    metrics = round_.get("metrics") or {}
    return (
        str(round_["round"]),
        measure(metrics.get(metric)),
        measure(metrics.get("loss")),
        size(round_.get("bytes_up")),
        size(round_.get("bytes_down")),
        size(round_.get("peak_memory_bytes")),
        f"{sum((round_.get('seconds') or {}).values()):.1f}",
    )


def round_line(round_: Json, metric: str = METRIC) -> str:
    """A round in one line of plain text."""
    pairs = zip(columns(metric), round_cells(round_, metric), strict=True)
    return "  ".join(f"{name} {cell}" for name, cell in pairs)


def stopped_line(closed: int, rounds: int, reason: str) -> str:
    """Why a job that is done has fewer rounds than were asked for."""
    return f"stopped after round {closed} of {rounds}: {reason}"


def jobs_table(jobs: Sequence[Json]) -> Table:
    """A row for each job."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("id", "name", "project", "state", "method"):
        table.add_column(name, overflow="fold" if name in ("id", "name", "project") else "ellipsis")
    for name in ("rounds", "quality", "up", "down"):
        table.add_column(name, justify="right", no_wrap=True)
    for job in jobs:
        table.add_row(*_job_cells(job))
    return table


def _job_cells(job: Json) -> tuple[Text | str, ...]:
    return (
        Text(job["id"]),
        Text(job["name"]),
        Text(job.get("project") or NONE),
        Text(job["state"], style=_STYLES.get(job["state"], "")),
        Text(job["method"]),
        f"{job['rounds_closed']}/{job['rounds']}",
        _quality(job),
        size(job["bytes_up"]),
        size(job["bytes_down"]),
    )


def _quality(job: Json) -> str:
    """The headline of the job's task with its value."""
    metric, metrics = job.get("headline", METRIC), job.get("metrics") or {}
    return f"{metric} {measure(metrics[metric])}" if metric in metrics else NONE


def methods_table(methods: Sequence[Json]) -> Table:
    """A row for each method of the registry."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("name", "title", "paper"):
        table.add_column(name, overflow="fold")
    for method in methods:
        table.add_row(Text(method["name"]), Text(method["title"]), Text(method["paper"]))
    return table


def measure(value: float | None) -> str:
    """A metric with three places."""
    return NONE if value is None else f"{value:.3f}"


def size(count: int | None) -> str:
    """Bytes in decimal units: 1 MB is a million bytes."""
    if count is None:
        return NONE
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        # 999 950 would be shown as 1000.0 kB
        if count >= factor * 0.99995:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
