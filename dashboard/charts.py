"""Charts of a job's rounds, each with a line of text that says its current value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from dashboard import words

# Okabe and Ito: told apart with any colour vision, and readable on white and on black
BLUE, VERMILION = "#0072B2", "#D55E00"
ORANGE, GREEN = "#E69F00", "#009E73"
HEIGHT = 240
_FREE = alt.Scale(zero=False)


@dataclass(frozen=True)
class Figure:
    """A chart and its text alternative; `key` names its place on the page."""

    key: str
    title: str
    chart: alt.Chart
    caption: str


def figures(frame: pd.DataFrame, total: int, headline: str = "accuracy") -> list[Figure]:
    """The charts of a job page. `frame` is views.rounds_frame, `total` the job's rounds.

    `headline` is the metric of the job's task.
    """
    share = headline == "accuracy"
    return [
        _metric(frame, total, headline, alt.Scale(domain=[0, 1]) if share else _FREE),
        _metric(frame, total, "loss", _FREE),
        _traffic(frame, total),
        _memory(frame, total),
    ]


def _metric(frame: pd.DataFrame, total: int, name: str, scale: alt.Scale) -> Figure:
    rows = frame[["round", name]].dropna()
    title = name.capitalize()
    y = alt.Y(f"{name}:Q", title=title, scale=scale)
    chart = _line(rows, frame, total, y, alt.Tooltip(f"{name}:Q", title=title, format=".4f"))
    return Figure(name, f"{title} per round", chart, _metric_caption(rows, name))


def _metric_caption(rows: pd.DataFrame, name: str) -> str:
    title = name.capitalize()
    if rows.empty:
        return f"{title}: not measured yet."
    last = rows.iloc[-1]
    count = "1 round" if len(rows) == 1 else f"{len(rows)} rounds"
    return f"{title} {last[name]:.3f} after round {last['round']:.0f}; {count} measured."


def _traffic(frame: pd.DataFrame, total: int) -> Figure:
    totals = frame[["total_up", "total_down"]].max().max() if len(frame) else 0
    scale, unit = words.unit(totals)
    rows = _long(frame, scale)
    chart = _line(
        rows,
        frame,
        total,
        alt.Y("amount:Q", title=f"Bytes since the start ({unit})"),
        alt.Tooltip("amount:Q", title=unit, format=".3f"),
    ).encode(
        color=alt.Color("direction:N", title=None, scale=_up_down([BLUE, VERMILION])),
        shape=alt.Shape("direction:N", title=None, scale=_up_down(["circle", "square"])),
    )
    chart = chart.configure_legend(orient="top")
    return Figure("bytes", "Bytes sent, all rounds so far", chart, _traffic_caption(frame))


def _long(frame: pd.DataFrame, scale: float) -> pd.DataFrame:
    both = [
        pd.DataFrame({"round": frame["round"], "direction": word, "amount": frame[name] / scale})
        for name, word in (("total_up", "up"), ("total_down", "down"))
    ]
    return pd.concat(both, ignore_index=True)


def _traffic_caption(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "Nothing sent yet."
    last = frame.iloc[-1]
    return (
        f"Up {words.size(last['total_up'])}, down {words.size(last['total_down'])} "
        f"until round {last['round']:.0f}."
    )


def _memory(frame: pd.DataFrame, total: int) -> Figure:
    measured = frame[frame["peak_memory_bytes"].fillna(0) > 0]
    scale, unit = words.unit(measured["peak_memory_bytes"].max() if len(measured) else 0)
    rows = pd.DataFrame(
        {"round": measured["round"], "memory": measured["peak_memory_bytes"] / scale}
    )
    y = alt.Y("memory:Q", title=f"Peak memory of a client ({unit})", scale=alt.Scale(zero=True))
    chart = _line(rows, frame, total, y, alt.Tooltip("memory:Q", title=unit, format=".1f"))
    caption = "Peak memory: not measured yet."
    if len(measured):
        last = measured.iloc[-1]
        caption = f"{words.size(last['peak_memory_bytes'])} in round {last['round']:.0f}."
    return Figure("memory", "Peak memory per round", chart, caption)


def _line(
    rows: pd.DataFrame, frame: pd.DataFrame, total: int, y: alt.Y, value: alt.Tooltip
) -> alt.Chart:
    if rows.empty:
        y = y.scale(domain=[0, 1])
    first = int(frame["round"].min()) if len(frame) else 1
    base = alt.Chart(rows, height=HEIGHT).mark_line(point={"size": 60, "filled": True})
    tooltip = [alt.Tooltip("round:Q", title="Round", format="d"), value]
    chart: alt.Chart = base.encode(
        x=_round_axis(first, total), y=y, color=alt.value(BLUE), tooltip=tooltip
    )
    return chart


def _round_axis(first: int, total: int) -> alt.X:
    last = first + max(total, 1) - 1
    # half a round of air, so that the first and the last point are not cut
    scale = alt.Scale(domain=[first - 0.5, last + 0.5], nice=False)
    axis = alt.Axis(format="d", tickMinStep=1, grid=False, labelFlush=False)
    return alt.X("round:Q", title="Round", scale=scale, axis=axis)


def _up_down(values: Sequence[str]) -> alt.Scale:
    # colour and shape of one domain share a legend
    return alt.Scale(domain=["up", "down"], range=list(values))


def memory_parts(frame: pd.DataFrame) -> Figure:
    """A bar for each method, of the parts of its peak memory. `frame` is forecast.memory_frame."""
    sums = frame.groupby("method", sort=False)["bytes"].sum()
    scale, unit = words.unit(sums.max() if len(sums) else 0)
    rows = frame.assign(amount=frame["bytes"] / scale)
    parts = list(dict.fromkeys(frame["part"]))
    colours = alt.Scale(domain=parts, range=[BLUE, ORANGE, VERMILION, GREEN][: len(parts)])
    chart = alt.Chart(rows, height=alt.Step(28)).mark_bar()
    chart = chart.encode(
        x=alt.X("amount:Q", title=unit, stack="zero"),
        y=alt.Y("method:N", title=None, sort=None),
        color=alt.Color("part:N", title=None, scale=colours, legend=alt.Legend(columns=2)),
        order=alt.Order("order:Q"),
        tooltip=[
            alt.Tooltip("method:N", title="Method"),
            alt.Tooltip("part:N", title="Part"),
            alt.Tooltip("amount:Q", title=unit, format=".1f"),
        ],
    )
    chart = chart.configure_legend(orient="top")
    return Figure("parts", "Peak memory of a client", chart, parts_caption(frame))


def parts_caption(frame: pd.DataFrame) -> str:
    """The parts of each method's peak memory in words. `frame` is forecast.memory_frame."""
    lines = []
    for method, rows in frame.groupby("method", sort=False):
        parts = ", ".join(f"{r['part']} {words.size(r['bytes'])}" for _, r in rows.iterrows())
        lines.append(f"{method}: {parts}.")
    return " ".join(lines)
