"""One job in the list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.state_badge import draw_state

# on a phone: the name, then state and progress, then the four figures, a line each
NAME_WIDTH, STATE_WIDTH, PROGRESS_WIDTH, CELL_WIDTH = 230, 92, 220, 70
# a page link has this much room before its text
INDENT = "&nbsp;&nbsp;&nbsp;"


def draw_row(job: Mapping[str, Any], now: datetime) -> None:
    """Name, state, progress and figures; the name leads to the job's page."""
    with st.container(
        border=True,
        horizontal=True,
        horizontal_alignment="distribute",
        vertical_alignment="center",
        key=f"job-{job['id']}",
    ):
        _draw_name(job, now)
        with st.container(width=STATE_WIDTH):
            draw_state(job["state"])
        share, text = words.progress(job)
        st.progress(share, text, width=PROGRESS_WIDTH)
        metric = words.headline(job)
        _draw_cell(metric, words.metric(job["metrics"], metric))
        _draw_cell("up", words.size(job["bytes_up"]))
        _draw_cell("down", words.size(job["bytes_down"]))
        _draw_cell("peak mem.", words.size(job["peak_memory_bytes"] or None))


def _draw_name(job: Mapping[str, Any], now: datetime) -> None:
    with st.container(width=NAME_WIDTH, gap=None):
        st.page_link(
            "screens/job.py",
            label=f"**{words.plain(job['name'])}**",
            query_params={"job": job["id"]},
        )
        created = words.ago(job["created_at"], now)
        what = words.sentence([words.whose(job), job["method"], job["model"], created])
        st.caption(f"{INDENT}{words.plain(what)}")


def _draw_cell(label: str, value: str) -> None:
    st.markdown(f"**{value}**  \n:small[:gray[{label}]]", width=CELL_WIDTH)
