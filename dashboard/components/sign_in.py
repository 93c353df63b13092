"""Who uses this session: the key of the environment, or the one that was typed in.

A typed key lives in Streamlit's session on the server. It is never in the page, its address or the
browser's storage, so that a reloaded page asks for it again.
"""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from dashboard.api_client import ApiClient, ApiProblem
from dashboard.components import connection
from dashboard.components.connection import KEY, api
from dashboard.settings import Settings, read_settings
from dashboard.words import plain, sentence

Json = dict[str, Any]
ME = "me"
INPUT = "sign-in-key"
# a change of role shows after this
REMEMBER_S = 60.0
ACTING = ("operator", "admin")


def signed_in() -> bool:
    """Whether there is a key to ask the server with."""
    return bool(connection.settings().api_key)


def me() -> Json | None:
    """Who the server says the caller is; None while it does not say."""
    at, known = st.session_state.get(ME, (-REMEMBER_S, None))
    if time.monotonic() - at < REMEMBER_S:
        return known  # type: ignore[no-any-return]
    try:
        found = api().me()
    except ApiProblem:
        return None
    st.session_state[ME] = (time.monotonic(), found)
    return found


def may_act() -> bool:
    """Whether submit, cancel and the like are offered; the server decides all the same."""
    known = me()
    return known is None or known["role"] in ACTING


def draw_sign_in() -> None:
    """Asks for a key, and keeps one that the server knows."""
    st.title("Sign in", anchor=False)
    with st.form("sign-in", clear_on_submit=True, width=480):
        given = st.text_input("API key", type="password", key=INPUT)
        asked = st.form_submit_button("Sign in", type="primary")
    st.caption("An admin makes keys with `fedkrso keys create --user NAME`.")
    if asked and given.strip():
        _take(given.strip())


def _take(key: str) -> None:
    client = ApiClient(Settings(read_settings().server, key))
    try:
        found = client.me()
    except ApiProblem as problem:
        st.error(_said(problem))
        return
    finally:
        client.close()
    st.session_state[KEY] = key
    st.session_state[ME] = (time.monotonic(), found)
    st.rerun()


def _said(problem: ApiProblem) -> str:
    if problem.status == 403:
        return "This key is for training clients; sign in with a user's key."
    return plain(problem.detail)


def draw_who() -> None:
    """Who is signed in, and the way out for somebody who typed a key."""
    known = me()
    if known is not None and known["user"]:
        st.caption(plain(sentence([known["user"], known["role"]])), width="content")
    if not read_settings().api_key and st.button("Sign out", key="sign-out", type="tertiary"):
        st.session_state.clear()
        st.rerun()
