"""Entry point: `streamlit run dashboard/app.py`."""

from __future__ import annotations

import streamlit as st

from dashboard.components.connection import api
from dashboard.components.sign_in import draw_sign_in, draw_who, role, signed_in
from dashboard.navigation import ENTRIES, offered
from dashboard.words import plain


def run() -> None:
    """Draws the frame and the page that was chosen."""
    st.set_page_config(page_title="FedKRSO", layout="wide")
    # not in a folder named pages: Streamlit would run those files by themselves for a first
    # visitor who comes by a deep link
    pages = [
        st.Page(entry.script, title=entry.title, default=entry is ENTRIES[0])
        for entry in offered(role() if signed_in() else None)
    ]
    # Streamlit's own list of pages is a sidebar on a phone, and stays open over the page
    page = st.navigation(pages, position="hidden")
    if signed_in():
        with st.container(horizontal=True, vertical_alignment="center", key="pages"):
            for linked in pages:
                st.page_link(linked)
            draw_who()
        page.run()
    else:
        draw_sign_in()
    # without its scheme, with which it would become a link
    st.caption(f"Server {plain(api().settings.server.partition('://')[2])}")


run()
