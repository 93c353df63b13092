"""Jobs side by side: ?jobs=ID,ID in the address. Live while one of them runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import comparison, words
from dashboard.api_client import ApiProblem
from dashboard.compare_charts import compared
from dashboard.comparison import Measure
from dashboard.components.connection import REFRESH_S, api, problems_shown, show
from dashboard.components.downloads import draw_downloads
from dashboard.components.figure import draw_figure
from dashboard.components.job_picker import draw_picker, forget

Json = dict[str, Any]
MEASURE = "compare-by"
SERIES, FRESH = "compare-series", "compare-fresh"
# of all jobs together: more would make the browser slow, and nobody sees them
_POINTS = 2500
_MISSING = 404


def page() -> None:
    """The choice of jobs, and what is known of them."""
    st.title("Compare", anchor=False)
    with problems_shown():
        jobs = draw_picker()
        if not jobs:
            st.info(
                "Choose two or more jobs above, or tick them in the list of jobs and press Compare."
            )
            return
        series = st.session_state[FRESH] = _read(jobs)
        live = any(words.is_live(item) for item in series)
        measure = _draw_measure(series)
        st.fragment(_draw, run_every=REFRESH_S if live else None)(jobs, measure)
        # outside of the part that refreshes itself: an address that changes is clicked too late
        _draw_kept(series, measure)


def _read(jobs: list[str]) -> list[Json]:
    points = max(20, min(200, _POINTS // len(jobs)))
    try:
        return api().series(jobs, points)
    except ApiProblem as problem:
        if problem.status != _MISSING:
            raise
    missing = [job for job in jobs if not _exists(job)]
    forget(missing)
    names = ", ".join(f"`{words.plain(job)}`" for job in missing)
    st.warning(f"Not there, or not yours to see: {names}.")
    rest = [job for job in jobs if job not in missing]
    return api().series(rest, points) if rest else []


def _exists(job: str) -> bool:
    try:
        api().job(job)
    except ApiProblem as problem:
        if problem.status == _MISSING:
            return False
        raise
    return True


def _draw_measure(series: list[Json]) -> Measure:
    found = {measure.name: measure for measure in comparison.measures(series)}
    if len(found) < 2:
        return next(iter(found.values()), Measure("accuracy"))
    name = st.selectbox("By", list(found), format_func=words.metric_name, key=MEASURE, width=220)
    return found[name]


def _draw(jobs: list[str], measure: Measure) -> None:
    try:
        # what the page has just read, else read anew
        series = st.session_state.pop(FRESH, None) or _read(jobs)
        st.session_state[SERIES] = series
    except ApiProblem as problem:
        show(problem)
        series = st.session_state.get(SERIES, [])  # what was known before the server went away
    results = comparison.results(series, measure)
    figures = compared(
        comparison.points_frame(series, measure), results, measure, comparison.labels(series)
    )
    for row in (figures[:2], figures[2:]):
        for column, figure in zip(st.columns(2), row, strict=True):
            with column:
                draw_figure(figure, "compare-")
    st.markdown(comparison.verdict(results, measure))
    _draw_table(results, measure)


def _draw_table(results: pd.DataFrame, measure: Measure) -> None:
    number = st.column_config.NumberColumn
    shown = comparison.table(results)
    st.dataframe(
        shown,
        hide_index=True,
        key="compare-results",
        alt="Results of the jobs, the Pareto-best marked",
        placeholder="—",
        column_config={
            "value": number(measure.title, format="%.4f"),
            **{name: number(format="%.2f") for name in shown.columns if "(MB)" in name},
            "Time (s)": number(format="%.1f"),
        },
    )


def _draw_kept(series: list[Json], measure: Measure) -> None:
    points = comparison.points_frame(series, measure)
    results = comparison.results(series, measure)
    figures = compared(points, results, measure, comparison.labels(series))
    draw_downloads(figures, points, results, measure)


page()
