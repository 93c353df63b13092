"""What all charts have in common, and the bars of a forecast."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import pandas as pd

from dashboard import words
from dashboard.palette import BLUE, GREEN, ORANGE, VERMILION

HEIGHT = 240


@dataclass(frozen=True)
class Figure:
    """A chart and its text alternative; `key` names its place on the page."""

    key: str
    title: str
    chart: alt.Chart | alt.LayerChart
    caption: str


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
