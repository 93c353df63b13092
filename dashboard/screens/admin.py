"""For admins: how the service is, keys, users and projects, the audit log."""

from __future__ import annotations

import streamlit as st

from dashboard.components.admin_audit import draw_audit
from dashboard.components.admin_keys import draw_keys
from dashboard.components.admin_people import draw_people
from dashboard.components.admin_service import draw_service
from dashboard.components.sign_in import role

# one at a time is drawn, so that a page asks only for what it shows
SECTIONS = {
    "Service": draw_service,
    "Keys": draw_keys,
    "Users and projects": draw_people,
    "Audit log": draw_audit,
}


def page() -> None:
    """The chosen section."""
    st.title("Admin", anchor=False)
    if role() not in (None, "admin"):
        st.info("This page is for admins.")
        return
    chosen = st.radio(
        "Section",
        list(SECTIONS),
        key="admin-section",
        horizontal=True,
        label_visibility="collapsed",
    )
    SECTIONS[chosen]()


page()
