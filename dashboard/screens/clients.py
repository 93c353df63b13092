"""Clients from outside: who they are, what they do, who is invited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from dashboard import client_views, words
from dashboard.access_api import ClientsApi
from dashboard.api_client import ApiProblem
from dashboard.components.client_row import draw_client
from dashboard.components.connection import REFRESH_S, api, show
from dashboard.components.invitation_panel import draw_how_to_enrol, draw_invitations
from dashboard.components.sign_in import may_act

Json = Mapping[str, Any]
ALL = "all"
SEARCH, STANDING, PAGE = "clients-search", "clients-standing", "clients-page"
PER_PAGE = 25


def page() -> None:
    """Heading and filter; the list under them refreshes itself."""
    st.title("Clients", anchor=False)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    left.text_input("Search", key=SEARCH, placeholder="name, project or label")
    right.selectbox("State", [ALL, *client_views.STANDINGS], key=STANDING)
    _clients()


@st.fragment(run_every=REFRESH_S)
def _clients() -> None:
    now = datetime.now(UTC)
    try:
        found = ClientsApi(api()).clients()
    except ApiProblem as problem:
        show(problem)
        return
    if found:
        _draw_list(found, now)
    else:
        _draw_empty()
    draw_invitations(found, may_act())


def _draw_list(found: Sequence[Json], now: datetime) -> None:
    st.caption(client_views.summary(found, now))
    wanted = st.session_state.get(STANDING, ALL)
    text = st.session_state.get(SEARCH, "")
    shown = client_views.matching(found, text, None if wanted == ALL else wanted, now)
    if not shown:
        st.info("No client matches the search.")
    for client in _paged(shown):
        draw_client(client, now, may_act())


def _paged(shown: Sequence[Json]) -> Sequence[Json]:
    """A page of them; the choice of a page only where there are several."""
    pages = -(-len(shown) // PER_PAGE)
    if pages < 2:
        return shown
    number = st.number_input(f"Page (of {pages})", 1, pages, key=PAGE, width=160)
    first = (int(number) - 1) * PER_PAGE
    return shown[first : first + PER_PAGE]


def _draw_empty() -> None:
    st.info(words.plain("No client has enrolled yet. Jobs with simulated clients need none."))
    with st.expander("How a data owner's client is enrolled", expanded=True, key="how-to-enrol"):
        st.markdown(
            "Make an invitation below and send its token to the data owner."
            if may_act()
            else "An operator makes an invitation and sends its token to the data owner."
        )
        draw_how_to_enrol()


page()
