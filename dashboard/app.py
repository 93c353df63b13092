"""Entry point: `streamlit run dashboard/app.py`."""

from __future__ import annotations

import streamlit as st

from dashboard.components.connection import api


def run() -> None:
    """Draws the frame and the page that was chosen."""
    st.set_page_config(page_title="FedKRSO", layout="wide")
    pages = [
        st.Page("pages/jobs.py", title="Jobs", default=True),
        st.Page("pages/new_job.py", title="New job"),
        st.Page("pages/job.py", title="Job"),
    ]
    st.navigation(pages, position="top").run()
    # as code: a bare address would become a link
    st.caption(f"Server `{api().settings.server}`")


run()
