"""A chart with its title, its text alternative and the same words under it."""

from __future__ import annotations

import streamlit as st

from dashboard.charts import Figure


def draw_figure(figure: Figure, place: str = "") -> None:
    """Draws a chart; `place` tells apart two of one key on a page."""
    key = f"{place}{figure.key}"
    with st.container(key=f"chart-{key}"):
        st.markdown(f"**{figure.title}**")
        st.altair_chart(figure.chart, width="stretch", key=f"vega-{key}", alt=figure.caption)
        st.caption(figure.caption)
