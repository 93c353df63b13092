"""Entry point: `streamlit run dashboard/app.py`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.components.connection import api
from dashboard.components.sign_in import draw_sign_in, draw_who, role, signed_in
from dashboard.navigation import FIRST, offered
from dashboard.words import plain

# Streamlit leaves six; its own header, empty but for the menu at the right, has 3.75
_ABOVE = "<style>[data-testid=stMainBlockContainer]{padding-top:4.25rem}</style>"


def run() -> None:
    """Draws the frame and the page that was chosen."""
    st.set_page_config(page_title="FedKRSO", layout="wide")
    st.html(_ABOVE)
    entries = offered(role() if signed_in() else None)
    # not in a folder named pages: Streamlit would run those files by themselves for a first
    # visitor who comes by a deep link
    pages = [st.Page(entry.script, title=entry.title) for entry in entries if entry is not FIRST]
    # the first page is at / alone, whatever its url_path; who types /jobs is led there
    pages.insert(0, st.Page(FIRST.script, title=FIRST.title, url_path="first", default=True))
    named = st.Page(_to_first, title=FIRST.title, url_path=Path(FIRST.script).stem)
    # Streamlit's own list of pages is a sidebar on a phone, and stays open over the page
    page = st.navigation([*pages, named], position="hidden")
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


def _to_first() -> None:
    st.switch_page(FIRST.script)


run()
