"""Downloads of what is compared: the figures as CSV, the charts as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import pictures
from dashboard.charts import Figure
from dashboard.comparison import Measure, csv

_KINDS = {"SVG": (pictures.svg, "image/svg+xml"), "PNG": (pictures.png, "image/png")}


def draw_downloads(
    figures: Sequence[Figure], points: pd.DataFrame, results: pd.DataFrame, measure: Measure
) -> None:
    """Two CSV files, and a choice of chart and kind of picture."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="downloads"):
        _draw_csv("Curves (CSV)", "curves", points, measure)
        _draw_csv("Results (CSV)", "results", results, measure)
        by_title = {figure.title: figure for figure in figures}
        title = st.selectbox("Picture of", list(by_title), key="picture-of", width=260)
        for kind in _KINDS:
            _draw_picture(kind, by_title[title])


def _draw_csv(label: str, name: str, frame: pd.DataFrame, measure: Measure) -> None:
    content = csv(frame, measure)
    st.download_button(
        label, content, f"{name}.csv", "text/csv", key=f"download-{name}", on_click="ignore"
    )


def _draw_picture(kind: str, figure: Figure) -> None:
    draw, mime = _KINDS[kind]
    st.download_button(
        kind,
        # made when it is clicked
        data=lambda: draw(figure.chart, figure.title),
        file_name=f"{figure.key}.{kind.lower()}",
        mime=mime,
        key=f"download-{kind.lower()}",
        on_click="ignore",
    )
