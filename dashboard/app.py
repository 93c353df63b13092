"""Entry point: `streamlit run dashboard/app.py`."""

from __future__ import annotations

import streamlit as st

from dashboard.components.connection import api
from dashboard.words import plain


def run() -> None:
    """Draws the frame and the page that was chosen."""
    st.set_page_config(page_title="FedKRSO", layout="wide")
    pages = [
        st.Page("pages/jobs.py", title="Jobs", default=True),
        st.Page("pages/new_job.py", title="New job"),
        st.Page("pages/job.py", title="Job"),
    ]
    page = st.navigation(pages)
    st.sidebar.caption(f"Server: {plain(api().server)}")
    page.run()


run()
