"""One external client in the list, and what operators do with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import client_views, words
from dashboard.access_api import ClientsApi
from dashboard.components.connection import api, problems_shown
from dashboard.components.state_badge import Colour

Json = Mapping[str, Any]
NAME_WIDTH, STATE_WIDTH, DOING_WIDTH, FACTS_WIDTH = 200, 110, 330, 300
COLOURS: dict[str, Colour] = {
    "training": "blue",
    "ready": "green",
    "away": "violet",
    "silent": "orange",
    "new": "gray",
    "quarantined": "red",
    "revoked": "gray",
}


def draw_client(client: Json, now: datetime, may_act: bool) -> None:
    """Name, state, what it does, when it was heard of and what it runs on."""
    with st.container(border=True, key=f"client-{client['id']}"):
        with st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
        ):
            _draw_facts(client, now)
            if may_act and client["state"] != "revoked":
                _draw_manage(client)
        _draw_reasons(client)
        if may_act and client["state"] == "quarantined":
            _draw_release(client)


def _draw_facts(client: Json, now: datetime) -> None:
    with st.container(width=NAME_WIDTH, gap=None):
        st.markdown(f"**{words.plain(client['name'])}**")
        labels = client_views.labels_text(client["labels"])
        st.caption(words.plain(words.sentence([client["project"], labels])))
    with st.container(width=STATE_WIDTH):
        word = client_views.standing(client, now)
        st.badge(word, color=COLOURS[word])
    st.markdown(words.plain(client_views.doing(client, now)), width=DOING_WIDTH)
    facts = [client_views.heard(client, now), client_views.version(client)]
    with st.container(width=FACTS_WIDTH, gap=None):
        st.caption(words.plain(words.sentence(facts)))
        st.caption(words.plain(client_views.hardware(client)))


def _draw_reasons(client: Json) -> None:
    """Why it is in quarantine, and which jobs it does not take part in."""
    reason = words.plain(client_views.offences(client))
    if client["state"] == "quarantined":
        st.error(reason)
    elif reason:
        st.warning(reason)
    for item in client["refuses"]:
        st.caption(f"Turned down {words.plain(item['name'])}: {words.plain(item['reason'])}")


def _draw_release(client: Json) -> None:
    if st.button("Release from quarantine", key=f"release-{client['id']}"):
        with problems_shown():
            ClientsApi(api()).release(client["id"])
            st.rerun()


def _draw_manage(client: Json) -> None:
    with st.popover("Manage", key=f"manage-{client['id']}"):
        _draw_labels(client)
        st.divider()
        st.write("A revoked client's keys are refused at once, and its work is taken from it.")
        if st.button("Revoke this client", key=f"revoke-{client['id']}"):
            with problems_shown():
                ClientsApi(api()).revoke(client["id"])
                st.rerun()


def _draw_labels(client: Json) -> None:
    known = client_views.labels_text(client["labels"])
    text = st.text_input(
        "Labels",
        known,
        key=f"labels-{client['id']}",
        help="NAME=VALUE, separated by commas; jobs select clients by them",
    )
    if not st.button("Save labels", key=f"save-labels-{client['id']}"):
        return
    try:
        labels = client_views.labels_of(text)
    except ValueError as error:
        st.error(words.plain(error))
        return
    with problems_shown():
        ClientsApi(api()).label(client["id"], labels)
        st.rerun()
