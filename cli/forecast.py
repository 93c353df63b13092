"""A forecast as tables and lines; nothing here reads, waits or prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.render import NONE, size

Json = dict[str, Any]
_TRAFFIC = {
    "up, round": "bytes_up_per_client",
    "down, round": "bytes_down_per_client",
    "up, job": "bytes_up",
    "down, job": "bytes_down",
}
_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "peak": "peak",
    "process": "process",
}
_PACE = {"step": "seconds_per_step", "round": "seconds_per_round", "job": "seconds"}
# what of a forecast each limit of the budget is about
_LIMITED = {
    "bytes_up": ("traffic", "bytes_up"),
    "memory": ("memory", "process"),
    "seconds": ("pace", "seconds"),
}


def forecast(found: Json, job: Json) -> RenderableType:
    """Bytes, memory and time of each method, the precisions, refusals and the job's budget."""
    able = [item for item in found["forecasts"] if item["refused"] is None]
    own = found["forecasts"][0]
    return Group(
        Text(f"{found['job']} on {found['device']}", style="bold"),
        _table("Bytes of a client in a round, and of the whole job", able, "traffic", _TRAFFIC),
        *_expected(own),
        _table("Memory of a client at its peak", able, "memory", _MEMORY),
        _table("Training time of a client", able, "pace", _PACE, duration),
        *_precisions(own, job["local"]["precision"]),
        *_refusals(found["forecasts"]),
        *_budget(found, own, job["budget"]),
    )


def _expected(own: Json) -> Iterator[Text]:
    """That the bytes of buffered rounds depend on time, and those of zstd on the numbers."""
    if own["traffic"] and not own["traffic"].get("exact", True):
        said = "Rounds are buffered: these are the bytes of `fedkrso run`; with the service they"
        yield Text(f"{said} depend on which client is done when.", style="yellow")
    if own["traffic"] and own["traffic"].get("compressed"):
        yield Text("Updates are compressed: bytes up are those before that.", style="yellow")


def duration(seconds: float | None) -> str:
    """A time with three digits: 0.0812 s, 12.3 s, 21.5 min, 10.3 h."""
    if seconds is None:
        return NONE
    for factor, unit in ((3600, "h"), (60, "min")):
        if seconds >= 10 * factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{f'{seconds:#.3g}'.rstrip('.')} s"


def _table(
    title: str,
    items: Sequence[Json],
    part: str,
    columns: dict[str, str],
    shown: Callable[[Any], str] = size,
) -> Table:
    table = _titled(title, ("method", *columns))
    for item in items:
        figures = item[part] or {}
        table.add_row(Text(item["method"]), *(shown(figures.get(key)) for key in columns.values()))
    return table


def _precisions(own: Json, chosen: str) -> Iterator[Table]:
    """What each setting of local.precision would change for the job's own method."""
    if own["pace"] is None:
        return
    table = _titled(f"local.precision of {own['method']}", ("setting", "step", "change"))
    settings = own["pace"]["precision"]
    for name, seconds in settings.items():
        change = "the job's" if name == chosen else _change(seconds, settings.get(chosen))
        table.add_row(name, duration(seconds), change)
    yield table


def _change(seconds: float, now: float | None) -> str:
    if not now:
        return NONE
    percent = round(100 * (seconds / now - 1))
    return f"{-percent} % less" if percent <= 0 else f"{percent} % more"


def _titled(title: str, columns: Sequence[str]) -> Table:
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="italic",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _refusals(forecasts: Sequence[Json]) -> Iterator[Text]:
    for item in forecasts:
        if item["refused"] is not None:
            yield Text(f"\n{item['method']} cannot run it: {item['refused']}", style="yellow")


def _budget(found: Json, own: Json, budget: Json) -> Iterator[Text]:
    """Each limit that the job fits into, and each that one of the methods does not."""
    over = found["over_budget"]
    lines = [*_fitting(own, budget, {error["field"] for error in over.get(own["method"], ())})]
    for method, errors in over.items():
        style = "red" if method == own["method"] else "yellow"
        for error in errors:
            said = f"{method}: {error['field']}: does not fit: {error['message']}"
            lines.append(Text(said, style=style))
    if lines:
        yield Text("\nBudget", style="italic")
    yield from lines


def _fitting(own: Json, budget: Json, over: set[str]) -> Iterator[Text]:
    for name, (part, figure) in _LIMITED.items():
        limit, needs = budget[name], (own[part] or {}).get(figure)
        shown = duration if part == "pace" else size
        if limit is not None and needs is not None and f"budget.{name}" not in over:
            said = f"{own['method']}: budget.{name}: fits, {shown(needs)} of {shown(limit)}"
            yield Text(said, style="green")
