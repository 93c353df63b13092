"""The charts of a job's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.charts import Figure, figures
from dashboard.views import rounds_frame


def draw_charts(rounds: Sequence[Mapping[str, Any]], total: int, headline: str) -> None:
    """Two charts in a row, each with its current value in words under it."""
    drawn = figures(rounds_frame(rounds, headline), total, headline)
    for row in (drawn[:2], drawn[2:]):
        for column, figure in zip(st.columns(2), row, strict=True):
            with column:
                _draw(figure)


def _draw(figure: Figure) -> None:
    with st.container(key=f"chart-{figure.key}"):
        st.markdown(f"**{figure.title}**")
        st.altair_chart(figure.chart, width="stretch", key=f"vega-{figure.key}", alt=figure.caption)
        st.caption(figure.caption)
