"""Keys: which there are, a new one that is shown once, and revoking one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import admin_views
from dashboard.access_api import AdminApi
from dashboard.components.connection import api, problems_shown

Json = Mapping[str, Any]
# the session keeps the answer with the secret until the user says that it is copied
MADE = "key-made"
FOR_WORKERS = "training clients (worker)"


def draw_keys() -> None:
    """The section of keys."""
    with problems_shown():
        if MADE in st.session_state:
            _draw_made()
        with st.container(horizontal=True):
            if MADE not in st.session_state:
                _draw_form()
            found = AdminApi(api()).keys()
            valid = [key for key in found if key["state"] == "valid"]
            if valid:
                _draw_revoke(valid)
        table = admin_views.keys_table(found)
        st.dataframe(table, hide_index=True, key="keys", alt="Keys, newest first")


def _draw_form() -> None:
    with st.popover("New key", key="new-key"):
        names = [user["name"] for user in AdminApi(api()).users()]
        whose = st.selectbox("For", [*names, FOR_WORKERS], key="key-for")
        label = st.text_input("Label", key="key-label", placeholder="laptop", max_chars=100)
        days = st.number_input(
            "Valid for so many days", 0, 3650, 0, key="key-days", help="0: for ever"
        )
        if st.button("Make the key", type="primary", key="make-key"):
            user, role = (None, "worker") if whose == FOR_WORKERS else (whose, "user")
            with problems_shown():
                made = AdminApi(api()).make_key(user, role, label, int(days) or None)
                st.session_state[MADE] = made
                st.rerun()


def _draw_made() -> None:
    with st.container(border=True, key="key-made-box"):
        st.markdown("**Copy this key now: it is not shown again.**")
        st.code(st.session_state[MADE]["key"], language=None)
        st.button("I have copied it", key="key-copied", on_click=_forget)


def _forget() -> None:
    st.session_state.pop(MADE, None)


def _draw_revoke(valid: Sequence[Json]) -> None:
    with st.popover("Revoke a key", key="revoke-key"):
        names = {admin_views.key_name(key): key["id"] for key in valid}
        chosen = st.selectbox("Valid key", list(names), key="key-to-revoke")
        st.write("Whoever uses it is refused from now on.")
        if st.button("Revoke it", key="confirm-revoke-key"):
            with problems_shown():
                AdminApi(api()).revoke_key(names[chosen])
                st.rerun()
