"""Charts of a job's curves, each with a line of text that says its current value."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from dashboard import job_views, words
from dashboard.charts import HEIGHT, Figure
from dashboard.palette import BLUE, GREEN, ORANGE, SKY, VERMILION

_FREE = alt.Scale(zero=False)
# a curve of more points has no marks: they would be a band
MOST_MARKS = 60
TIME_COLOURS = [BLUE, SKY, ORANGE, GREEN]


def figures(
    frame: pd.DataFrame, total: int, headline: str = "accuracy", memory_limit: int | None = None
) -> list[Figure]:
    """The charts of a job page. `frame` is job_views.series_frame, `total` the job's rounds.

    `headline` is the metric of the job's task, `memory_limit` what its budget allows a client.
    """
    share = headline == "accuracy"
    return [
        _metric(frame, total, headline, alt.Scale(domain=[0, 1]) if share else _FREE),
        _metric(frame, total, "loss", _FREE),
        _traffic(frame, total),
        _memory(frame, total, memory_limit),
        _times(frame, total),
    ]


def _metric(frame: pd.DataFrame, total: int, name: str, scale: alt.Scale) -> Figure:
    rows = frame[["round", name]].dropna()
    title = words.metric_name(name)
    y = alt.Y(f"{name}:Q", title=title, scale=scale)
    chart = _line(rows, total, y, alt.Tooltip(f"{name}:Q", title=title, format=".4f"))
    return Figure(name, f"{title} per round", chart, _metric_caption(rows, name))


def _metric_caption(rows: pd.DataFrame, name: str) -> str:
    title = words.metric_name(name)
    if rows.empty:
        return f"{title}: not measured yet."
    last = rows.iloc[-1]
    shown = words.count(len(rows), "round")
    return f"{title} {last[name]:.3f} after round {last['round']:.0f}; {shown} measured."


def _traffic(frame: pd.DataFrame, total: int) -> Figure:
    scale, unit = words.unit(frame[["bytes_up", "bytes_down"]].max().max() if len(frame) else 0)
    rows = _long(frame, scale)
    chart = _line(
        rows,
        total,
        alt.Y("amount:Q", title=f"Bytes since the start ({unit})"),
        alt.Tooltip("amount:Q", title=unit, format=".3f"),
    ).encode(
        color=alt.Color("direction:N", title=None, scale=_up_down([BLUE, VERMILION])),
        shape=alt.Shape("direction:N", title=None, scale=_up_down(["circle", "square"])),
        # not of the field: a dash without a legend takes away that of colour and shape
        strokeDash=alt.condition(
            "datum.direction === 'down'", alt.value([6, 3]), alt.value([1, 0])
        ),
    )
    chart = chart.configure_legend(orient="top")
    return Figure("bytes", "Bytes sent, all rounds so far", chart, _traffic_caption(frame))


def _long(frame: pd.DataFrame, scale: float) -> pd.DataFrame:
    both = [
        pd.DataFrame({"round": frame["round"], "direction": word, "amount": frame[name] / scale})
        for name, word in (("bytes_up", "up"), ("bytes_down", "down"))
    ]
    return pd.concat(both, ignore_index=True)


def _traffic_caption(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "No round has closed yet."
    last = frame.iloc[-1]
    return (
        f"Up {words.size(last['bytes_up'])}, down {words.size(last['bytes_down'])} "
        f"until round {last['round']:.0f}."
    )


def _memory(frame: pd.DataFrame, total: int, limit: int | None) -> Figure:
    measured = frame[frame["peak_memory_bytes"] > 0]
    highest = measured["peak_memory_bytes"].max() if len(measured) else 0
    scale, unit = words.unit(max(highest, limit or 0))
    rows = pd.DataFrame(
        {
            "round": measured["round"],
            "left": measured["before"] + 0.6,
            "right": measured["round"] + 0.4,
            "memory": measured["peak_memory_bytes"] / scale,
        }
    )
    # bars begin at zero, and the limit is in sight
    top = (
        alt.Scale(domainMin=0)
        if limit is None
        else alt.Scale(domain=[0, _air(highest, limit, scale)])
    )
    bars = alt.Chart(rows, height=HEIGHT).mark_rect(color=BLUE)
    drawn: Any = bars.encode(
        x=_rounds("left:Q", total),
        x2="right",
        y=alt.Y("memory:Q", title=f"Peak memory of a client ({unit})", scale=top),
        y2=alt.datum(0),
        tooltip=[_round_tooltip(), alt.Tooltip("memory:Q", title=unit, format=".1f")],
    )
    if limit is not None:
        drawn = drawn + _limit_line(limit / scale)
    return Figure("memory", "Peak memory per round", drawn, _memory_caption(measured, limit))


def _air(highest: float, limit: int, scale: float) -> float:
    return 1.1 * max(highest, limit) / scale


def _limit_line(at: float) -> alt.Chart:
    line = alt.Chart(pd.DataFrame({"limit": [at]})).mark_rule(strokeDash=[6, 3], strokeWidth=2)
    chart: alt.Chart = line.encode(y="limit:Q", color=alt.value(VERMILION))
    return chart


def _memory_caption(measured: pd.DataFrame, limit: int | None) -> str:
    if measured.empty:
        return "Peak memory: not measured yet."
    last = measured.iloc[-1]
    text = f"{words.size(last['peak_memory_bytes'])} in round {last['round']:.0f}"
    if limit is None:
        return f"{text}."
    return f"{text}; the dashed line is the budget's limit of {words.size(limit)}."


def _times(frame: pd.DataFrame, total: int) -> Figure:
    rows = job_views.time_frame(frame)
    floor = alt.Scale(domainMin=0) if len(rows) else alt.Scale(domain=[0, 1])
    # the legend has two lines, of which the first takes the room of the bars
    chart = alt.Chart(rows, height=HEIGHT + 60).mark_rect()
    colours = alt.Scale(domain=list(job_views.TIMES.values()), range=TIME_COLOURS)
    chart = chart.encode(
        x=_rounds("left:Q", total),
        x2="right",
        y=alt.Y("bottom:Q", title="Seconds of a round", scale=floor),
        y2="top",
        color=alt.Color("part:N", title=None, scale=colours),
        tooltip=[
            _round_tooltip(),
            alt.Tooltip("part:N", title="Part"),
            alt.Tooltip("seconds:Q", title="Seconds", format=".2f"),
        ],
    ).configure_legend(orient="top", columns=2)
    return Figure("time", "Where did the time go?", chart, _times_caption(frame))


def _times_caption(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "No round has closed yet."
    last = frame.iloc[-1]
    parts = [f"{word} {words.seconds(last[name])}" for name, word in job_views.TIMES.items()]
    return (
        f"Round {last['round']:.0f}, a client in the mean: {', '.join(parts)}. "
        "Waiting is for a worker and for slower clients."
    )


def _line(rows: pd.DataFrame, total: int, y: alt.Y, value: alt.Tooltip) -> alt.Chart:
    if rows.empty:
        y = y.scale(domain=[0, 1])
    marks: Any = {"size": 60, "filled": True} if rows["round"].nunique() <= MOST_MARKS else False
    base = alt.Chart(rows, height=HEIGHT).mark_line(point=marks)
    chart: alt.Chart = base.encode(
        x=_rounds("round:Q", total), y=y, color=alt.value(BLUE), tooltip=[_round_tooltip(), value]
    )
    return chart


def _round_tooltip() -> alt.Tooltip:
    return alt.Tooltip("round:Q", title="Round", format="d")


def _rounds(field: str, total: int) -> alt.X:
    # half a round of air, so that the first and the last point are not cut
    scale = alt.Scale(domain=[0.5, max(total, 1) + 0.5], nice=False)
    axis = alt.Axis(format="d", tickMinStep=1, grid=False, labelFlush=False)
    return alt.X(field, title="Round", scale=scale, axis=axis)


def _up_down(values: list[Any]) -> alt.Scale:
    # colour and shape of one domain share a legend
    return alt.Scale(domain=["up", "down"], range=values)
