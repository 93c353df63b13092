"""Invitations: which there are, a new one whose token is shown once, and revoking one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import client_views, words
from dashboard.access_api import ClientsApi
from dashboard.components.connection import api, problems_shown
from dashboard.components.sign_in import me

Json = Mapping[str, Any]
# the session keeps the answer with the token until the user says that it is copied
MADE = "invitation-made"
WEEK, YEAR = 7, 366


def draw_invitations(clients: Sequence[Json], may_act: bool) -> None:
    """The panel below the list of clients."""
    st.subheader("Invitations", anchor=False)
    st.caption("An invitation lets one data owner enrol one client, once.")
    with problems_shown():
        if may_act:
            _draw_made() if MADE in st.session_state else _draw_form()
        found = ClientsApi(api()).invitations()
        if not found:
            st.caption("There is no invitation yet.")
            return
        table = client_views.invitations_table(found, clients)
        st.dataframe(table, hide_index=True, key="invitations", alt="Invitations, newest first")
        still_open = [item for item in found if item["state"] == "open"]
        if may_act and still_open:
            _draw_revoke(still_open)


def draw_how_to_enrol() -> None:
    """What a data owner does with a token."""
    st.markdown(
        "The data owner installs this project on the machine that has the data, and runs the first "
        "line once (it asks for the token) and then the second. The client fetches its work over "
        "HTTPS; no port has to be opened for it, and the data never leave the machine."
    )
    server = api().settings.server
    run = "fedkrso client run --data FILE"
    st.code(f"{client_views.enrol_command(server)}\n{run}", language=None)


def _draw_form() -> None:
    with st.popover("Invite a client", key="invite"):
        labels = st.text_input(
            "Labels", key="invite-labels", placeholder="site=eu", help="Jobs select clients by them"
        )
        days = st.number_input("Valid for so many days", 1, YEAR, WEEK, key="invite-days")
        projects = (me() or {}).get("projects", [])
        project = projects[0] if projects else None
        if len(projects) > 1:
            project = st.selectbox("Project", projects, key="invite-project")
        if st.button("Make the invitation", type="primary", key="make-invitation"):
            _make(labels, int(days), project)


def _make(text: str, days: int, project: str | None) -> None:
    try:
        labels = client_views.labels_of(text)
    except ValueError as error:
        st.error(words.plain(error))
        return
    with problems_shown():
        st.session_state[MADE] = ClientsApi(api()).invite(labels, days, project)
        st.rerun()


def _draw_made() -> None:
    """The token, this once."""
    made = st.session_state[MADE]
    with st.container(border=True, key="invitation-made"):
        st.markdown("**Copy this token now: it is not shown again.** Send it to the data owner.")
        st.code(made["token"], language=None)
        draw_how_to_enrol()
        st.button("I have copied it", key="token-copied", on_click=_forget)


def _forget() -> None:
    st.session_state.pop(MADE, None)


def _draw_revoke(still_open: Sequence[Json]) -> None:
    with st.popover("Revoke an invitation", key="revoke-invitation"):
        chosen = st.selectbox(
            "Open invitation",
            [item["id"] for item in still_open],
            key="invitation-to-revoke",
        )
        if st.button("Revoke it", key="confirm-uninvite"):
            with problems_shown():
                ClientsApi(api()).uninvite(chosen)
                st.rerun()
