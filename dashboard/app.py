"""Entry point: `streamlit run dashboard/app.py`."""

from __future__ import annotations

import streamlit as st

from dashboard.components.connection import api


def run() -> None:
    """Draws the frame and the page that was chosen."""
    st.set_page_config(page_title="FedKRSO", layout="wide")
    # not in a folder named pages: Streamlit would run those files by themselves for a first
    # visitor who comes by a deep link
    pages = [
        st.Page("screens/jobs.py", title="Jobs", default=True),
        st.Page("screens/new_job.py", title="New job"),
        st.Page("screens/job.py", title="Job"),
    ]
    # Streamlit's own list of pages is a sidebar on a phone, and stays open over the page
    page = st.navigation(pages, position="hidden")
    with st.container(horizontal=True, key="pages"):
        for linked in pages:
            st.page_link(linked)
    page.run()
    # as code: a bare address would become a link
    st.caption(f"Server `{api().settings.server}`")


run()
