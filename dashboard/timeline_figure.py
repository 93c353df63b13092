"""The Gantt chart of a round's clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard.charts import Figure
from dashboard.palette import BLUE, GREEN, ORANGE, SKY, VERMILION
from dashboard.timeline import PHASES, caption

ROW = 18
_GREY = "#9A9A9A"
_COLOURS = [_GREY, SKY, BLUE, GREEN, ORANGE, VERMILION]


def timeline_figure(frame: pd.DataFrame, clients: Sequence[Mapping[str, Any]]) -> Figure:
    """A row for each client, a bar for each phase. `frame` is timeline.timeline_frame."""
    phases = [phase for phase in PHASES if phase in set(frame["phase"])]
    colours = [_COLOURS[PHASES.index(phase)] for phase in phases]
    chart = alt.Chart(frame, height=alt.Step(ROW)).mark_bar()
    chart = chart.encode(
        x=alt.X("start:Q", title="Seconds since the round began"),
        x2="end",
        y=alt.Y("client:O", title="Client", axis=alt.Axis(labelOverlap=False)),
        color=alt.Color("phase:N", title=None, scale=alt.Scale(domain=phases, range=colours)),
        tooltip=[
            alt.Tooltip("client:O", title="Client"),
            alt.Tooltip("phase:N", title="Phase"),
            alt.Tooltip("start:Q", title="From (s)", format=".1f"),
            alt.Tooltip("end:Q", title="Until (s)", format=".1f"),
            alt.Tooltip("seconds:Q", title="Seconds", format=".1f"),
        ],
    ).configure_legend(orient="top", columns=3)
    return Figure("timeline", "What each client did when", chart, caption(frame, clients))
