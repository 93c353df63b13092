"""One job in the list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import words

NAME_WIDTH, PROGRESS_WIDTH, CELL_WIDTH = 230, 170, 92


def draw_row(job: Mapping[str, Any], now: datetime) -> None:
    """Name, state, progress and figures; the name leads to the job's page."""
    metrics = job["metrics"]
    with st.container(
        border=True, horizontal=True, vertical_alignment="center", key=f"job-{job['id']}"
    ):
        _draw_name(job, now)
        with st.container(width=CELL_WIDTH):
            st.badge(job["state"], color=words.COLOURS.get(job["state"], "gray"))
        share, text = words.progress(job)
        st.progress(share, text, width=PROGRESS_WIDTH)
        _draw_cell("accuracy", words.metric(metrics, "accuracy"))
        _draw_cell("up", words.size(job["bytes_up"]))
        _draw_cell("down", words.size(job["bytes_down"]))
        _draw_cell("peak memory", words.size(job["peak_memory_bytes"] or None))


def _draw_name(job: Mapping[str, Any], now: datetime) -> None:
    with st.container(width=NAME_WIDTH, gap=None):
        st.page_link(
            "pages/job.py", label=words.plain(job["name"]), query_params={"job": job["id"]}
        )
        what = words.sentence([job["method"], job["model"], words.ago(job["created_at"], now)])
        st.caption(words.plain(what))


def _draw_cell(label: str, value: str) -> None:
    st.markdown(f"**{value}**  \n:small[:gray[{label}]]", width=CELL_WIDTH)
