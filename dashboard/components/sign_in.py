"""Who uses this session: the key of the environment, one that was typed in, or a user by name.

By name only where the environment has an admin's key, that is where whoever sees the page could do
everything anyway: it makes a key for that user, for some hours. Such a key, and a typed one, live
in Streamlit's session on the server. They are never in the page, its address or the browser's
storage, so that a reloaded page asks again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import streamlit as st

from dashboard.access_api import AdminApi
from dashboard.api_client import ApiClient, ApiProblem
from dashboard.components import connection
from dashboard.components.connection import KEY, api
from dashboard.navigation import ACTING
from dashboard.settings import Settings, read_settings
from dashboard.words import plain, sentence

Json = dict[str, Any]
ME = "me"
INPUT = "sign-in-key"
NAME = "sign-in-name"
# the id of the key that was made for a user who signed in by name
MADE = "sign-in-made"
DAYS = 1
# a change of role shows after this
REMEMBER_S = 60.0


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


def role() -> str | None:
    """viewer, operator or admin; None while the server does not say."""
    known = me()
    return None if known is None else str(known["role"])


def may_act() -> bool:
    """Whether submit, cancel and the like are offered; the server decides all the same."""
    return role() in (None, *ACTING)


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
    """Who is signed in, the way out, and the way to be somebody else."""
    known = me()
    if known is not None and known["user"]:
        st.caption(plain(sentence([known["user"], known["role"]])), width="content")
    if KEY in st.session_state:
        if st.button("Sign out", key="sign-out", type="tertiary"):
            _forget()
    elif role() == "admin":
        _draw_by_name()


def _draw_by_name() -> None:
    with st.popover("Sign in by name", key="sign-in-by-name", type="tertiary"):
        given = st.text_input("User name", key=NAME)
        st.caption("Your jobs bear this name, and you may do what this user may.")
        if st.button("Sign in", key="sign-in-as", type="primary") and given.strip():
            _become(given.strip())


def _become(user: str) -> None:
    try:
        made = AdminApi(api()).make_key(user, "user", "dashboard", DAYS)
    except ApiProblem as problem:
        st.error(plain(problem.detail))
        return
    st.session_state[MADE] = made["id"]
    st.session_state[KEY] = made["key"]
    st.session_state.pop(ME, None)
    st.rerun()


def _forget() -> None:
    """Ends the session; a key that was made for it ends too."""
    made = st.session_state.get(MADE)
    if made is not None:
        with suppress(ApiProblem):
            AdminApi(api()).revoke_key(made)  # everybody may revoke their own
    st.session_state.clear()
    st.rerun()
