"""Charts of several jobs, a colour and a dash for each, with a text that says how they end."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import altair as alt
import pandas as pd

from dashboard import palette, words
from dashboard.charts import Figure
from dashboard.comparison import Measure

HEIGHT = 340
_NAMED = 6
_COLUMNS, _LEGEND_ROW = 2, 20
# a longer legend would be taller than its chart: the pointer names jobs, and a click shows one
MOST_IN_LEGEND = 20
_BYTES = (
    "datum.value >= 1e12 ? format(datum.value / 1e12, '~r') + ' TB' : "
    "datum.value >= 1e9 ? format(datum.value / 1e9, '~r') + ' GB' : "
    "datum.value >= 1e6 ? format(datum.value / 1e6, '~r') + ' MB' : "
    "format(datum.value / 1e3, '~r') + ' kB'"
)
_TIMES = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def compared(
    points: pd.DataFrame, results: pd.DataFrame, measure: Measure, jobs: Sequence[str]
) -> list[Figure]:
    """Charts of `comparison.points_frame` and `results`; `jobs` are the labels, in their order."""
    ends = results.set_index("job")
    return [
        _against_rounds(points, measure, jobs, ends),
        _against_bytes(points, measure, jobs, ends),
        _against_time(points, measure, jobs, ends),
        _memory(results, jobs),
    ]


def _against_rounds(
    points: pd.DataFrame, measure: Measure, jobs: Sequence[str], ends: pd.DataFrame
) -> Figure:
    x = alt.X("round:Q", title="Round", axis=alt.Axis(format="d", tickMinStep=1, grid=False))
    after = {job: f"{row['rounds']:.0f} rounds" for job, row in ends.iterrows()}
    return _figure("rounds", "rounds", _lines(points, measure, jobs, x), measure, ends, after)


def _against_bytes(
    points: pd.DataFrame, measure: Measure, jobs: Sequence[str], ends: pd.DataFrame
) -> Figure:
    # a logarithm needs something: the points before the first byte are left out
    sent = points[points["bytes"] > 0]
    axis = alt.Axis(labelExpr=_BYTES, grid=True, labelOverlap=True, values=_ticks(sent["bytes"]))
    x = alt.X("bytes:Q", title="Bytes up and down, all clients", axis=axis)
    x = x.scale(type="log", nice=False) if len(sent) else x
    after = {job: words.size(_known(row["bytes"])) for job, row in ends.iterrows()}
    return _figure("bytes", "bytes sent", _lines(sent, measure, jobs, x), measure, ends, after)


def _against_time(
    points: pd.DataFrame, measure: Measure, jobs: Sequence[str], ends: pd.DataFrame
) -> Figure:
    longest = points["seconds"].max() if len(points) else 0.0
    scale, unit = next((one for one in _TIMES if longest >= 3 * one[0]), _TIMES[-1])
    timed = points.assign(time=points["seconds"] / scale)
    x = alt.X("time:Q", title=f"Time since the start, without pauses ({unit})")
    after = {job: words.seconds(_known(row["seconds"])) for job, row in ends.iterrows()}
    return _figure("time", "time", _lines(timed, measure, jobs, x), measure, ends, after)


def _ticks(sizes: pd.Series) -> list[float]:
    """1, 2 and 5 of each power of ten between the smallest and the largest size."""
    if sizes.empty:
        return []
    low, high = sizes.min(), sizes.max()
    first, last = int(math.log10(low)), int(math.log10(high)) + 1
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    every = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [tick for tick in every if low <= tick <= high]


def _lines(points: pd.DataFrame, measure: Measure, jobs: Sequence[str], x: alt.X) -> alt.Chart:
    chosen = alt.selection_point(fields=["job"])
    if len(jobs) <= MOST_IN_LEGEND:
        chosen = alt.selection_point(fields=["job"], bind="legend")
    few = len(points) <= 400
    chart = alt.Chart(points, height=_height(jobs)).mark_line(point={"size": 40} if few else False)
    drawn: alt.Chart = chart.encode(
        x=x,
        y=alt.Y("value:Q", title=measure.title, scale=alt.Scale(zero=False)),
        color=_colour(jobs),
        strokeDash=alt.StrokeDash(
            "job:N",
            scale=alt.Scale(domain=list(jobs), range=palette.dashes(len(jobs))),
            legend=None,
        ),
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        tooltip=[
            alt.Tooltip("job:N", title="Job"),
            alt.Tooltip("round:Q", title="Round", format="d"),
            alt.Tooltip("value:Q", title=measure.title, format=".4f"),
            alt.Tooltip("bytes:Q", title="Bytes", format=".3~s"),
            alt.Tooltip("seconds:Q", title="Seconds", format=".1f"),
        ],
    )
    return drawn.add_params(chosen)


def _height(jobs: Sequence[str]) -> int:
    """Of the chart with its legend: the curves have the same room however many there are."""
    rows = -(-len(jobs) // _COLUMNS) if len(jobs) <= MOST_IN_LEGEND else 0
    return HEIGHT + _LEGEND_ROW * rows


def _colour(jobs: Sequence[str]) -> alt.Color:
    scale = alt.Scale(domain=list(jobs), range=palette.colours(len(jobs)))
    legend = alt.Legend(orient="bottom", columns=_COLUMNS, symbolType="stroke", labelLimit=220)
    if len(jobs) > MOST_IN_LEGEND:
        return alt.Color("job:N", title=None, scale=scale, legend=None)
    return alt.Color("job:N", title=None, scale=scale, legend=legend)


def _memory(results: pd.DataFrame, jobs: Sequence[str]) -> Figure:
    known = results[results["memory"].notna()]
    scale, unit = words.unit(known["memory"].max() if len(known) else 0)
    rows = known.assign(amount=known["memory"] / scale)[["job", "amount"]]
    step = 26 if len(jobs) <= MOST_IN_LEGEND else 14
    chart = alt.Chart(rows, height=alt.Step(step)).mark_bar()
    chart = chart.encode(
        x=alt.X("amount:Q", title=f"Peak memory of a client ({unit})", scale=alt.Scale(zero=True)),
        y=alt.Y("job:N", title=None, sort=list(jobs), axis=alt.Axis(labelLimit=160)),
        color=_colour(jobs).legend(None),
        tooltip=[
            alt.Tooltip("job:N", title="Job"),
            alt.Tooltip("amount:Q", title=unit, format=".1f"),
        ],
    )
    said = [f"{row['job']} {words.size(row['memory'])}" for _, row in known.iterrows()]
    return Figure("memory", "Peak memory of a client", chart, _listed(said))


def _figure(
    key: str,
    against: str,
    chart: alt.Chart,
    measure: Measure,
    ends: pd.DataFrame,
    after: Mapping[Hashable, str],
) -> Figure:
    said = [
        f"{job} {row['value']:.3f} after {after[job]}"
        for job, row in ends.iterrows()
        if row["value"] == row["value"]
    ]
    return Figure(key, f"{measure.title} against {against}", chart, _listed(said))


def _listed(said: Sequence[str]) -> str:
    if not said:
        return "Not measured yet."
    more = f"; {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return "; ".join(said[:_NAMED]) + more + "."


def _known(value: float) -> float | None:
    return None if value != value else value
