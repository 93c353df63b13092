"""How the service is: its parts, the queue and the workers; live."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard import admin_views, words
from dashboard.access_api import AdminApi
from dashboard.components.connection import REFRESH_S, api, problems_shown


@st.fragment(run_every=REFRESH_S)
def draw_service() -> None:
    """A badge for each part, what waits, and who works."""
    with problems_shown():
        found = AdminApi(api()).service()
        with st.container(horizontal=True, vertical_alignment="center", key="checks"):
            for name, outcome in found["checks"].items():
                well = outcome == "ok"
                said = f"{name} {'ok' if well else 'fails'}"
                st.badge(said, color="green" if well else "red")
            st.caption(f"Version {found['version']}", width="content")
        for name, outcome in found["checks"].items():
            if outcome != "ok":
                st.error(words.plain(f"{name}: {outcome}"))
        st.markdown(words.plain(admin_views.backlog(found)))
        st.subheader("Workers of the last hour", anchor=False)
        if not found["workers"]:
            st.caption("No worker has had work in the last hour.")
            return
        table = admin_views.workers_table(found["workers"], datetime.now(UTC))
        st.dataframe(table, hide_index=True, key="workers", alt="Workers, last heard of first")
