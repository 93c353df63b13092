"""The charts of a job's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.figure import draw_figure
from dashboard.job_figures import figures
from dashboard.job_views import series_frame

Json = Mapping[str, Any]


def draw_charts(job: Json, points: Sequence[Json]) -> None:
    """Two charts in a row, each with its current value in words under it."""
    headline, limit = words.headline(job), (job["spec"].get("budget") or {}).get("memory")
    drawn = figures(series_frame(points, headline), job["rounds"], headline, limit)
    for row in (drawn[:2], drawn[2:4]):
        for column, figure in zip(st.columns(2), row, strict=True):
            with column:
                draw_figure(figure)
    draw_figure(drawn[4])
