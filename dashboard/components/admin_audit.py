"""The audit log, a page at a time."""

from __future__ import annotations

import streamlit as st

from dashboard import admin_views
from dashboard.access_api import AdminApi
from dashboard.components.connection import api, problems_shown

CURSORS = "audit-cursors"
USER, PROJECT = "audit-user", "audit-project"


def draw_audit() -> None:
    """Filters, the lines of a page, and the ways to other pages."""
    left, right = st.columns(2)
    user = left.text_input("Only of user", key=USER, max_chars=64, on_change=_newest)
    project = right.text_input("Only of project", key=PROJECT, max_chars=64, on_change=_newest)
    cursors: list[int] = st.session_state.get(CURSORS, [])
    with problems_shown():
        after = cursors[-1] if cursors else None
        found = AdminApi(api()).audit(project.strip() or None, user.strip() or None, after)
        if not found["items"]:
            st.info("Nothing like this was done.")
            return
        table = admin_views.audit_table(found["items"])
        st.dataframe(table, hide_index=True, key="audit", alt="What was done, newest first")
        with st.container(horizontal=True):
            if cursors:
                st.button("Newest lines", key="audit-newest", on_click=_newest)
            if found.get("next"):
                st.button("Older lines", key="audit-older", on_click=_older, args=[found["next"]])


def _newest() -> None:
    st.session_state[CURSORS] = []


def _older(cursor: int) -> None:
    st.session_state[CURSORS] = [*st.session_state.get(CURSORS, []), cursor]
