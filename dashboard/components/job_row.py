"""One job in the list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import job_list, words
from dashboard.components import ticked
from dashboard.components.state_badge import draw_state

# on a phone: the name, then state and progress, then the figures, a line each
NAME_WIDTH, STATE_WIDTH, PROGRESS_WIDTH, FIGURES_WIDTH = 300, 84, 190, 420
# a page link has this much room before its text
INDENT = "&nbsp;&nbsp;&nbsp;"


def draw_row(job: Mapping[str, Any], now: datetime) -> None:
    """A box to tick it, name, state, progress and figures; the name leads to the job's page."""
    with st.container(
        border=True,
        horizontal=True,
        horizontal_alignment="distribute",
        vertical_alignment="center",
        key=f"job-{job['id']}",
    ):
        with st.container(horizontal=True, vertical_alignment="center", width=NAME_WIDTH):
            ticked.draw_box(job)
            _draw_name(job, now)
        with st.container(width=STATE_WIDTH):
            draw_state(job["state"])
        share, text = job_list.progress(job, now)
        st.progress(share, text, width=PROGRESS_WIDTH)
        st.html(job_list.figures(job), width=FIGURES_WIDTH)


def _draw_name(job: Mapping[str, Any], now: datetime) -> None:
    with st.container(width=NAME_WIDTH - 45, gap=None):
        st.page_link(
            "screens/job.py",
            label=f"**{words.plain(job['name'])}**",
            query_params={"job": job["id"]},
        )
        st.caption(f"{INDENT}{job_list.under_name(job, now)}")
