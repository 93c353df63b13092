"""The client of this session, and how a failed request is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard.api_client import ApiClient, ApiProblem
from dashboard.settings import Settings, read_settings
from dashboard.words import plain

REFRESH_S = 2.0
# where a session keeps the key that it signed in with; not an input's, which the page would show
KEY = "api-key"


def settings() -> Settings:
    """The server of the environment, and the key that this session signed in with, or else its."""
    given = read_settings()
    return Settings(given.server, st.session_state.get(KEY) or given.api_key)


def api() -> ApiClient:
    """The client for this session's server and key; sessions with the same key share it."""
    chosen = settings()
    return _client(chosen.server, chosen.api_key)


@contextmanager
def problems_shown() -> Iterator[None]:
    """Shows an ApiProblem of the block as a message in its place."""
    try:
        yield
    except ApiProblem as problem:
        show(problem)


def show(problem: ApiProblem) -> None:
    """What happened, and what can be done about it."""
    st.error(f"{plain(problem.detail)}{_advice(problem.status)}")


def _advice(status: int) -> str:
    match status:
        case 0:
            return " Is it running? This page goes on trying."
        case 401 if KEY in st.session_state:
            return " Sign out, and sign in with another key."
        case 401:
            return " Set FEDKRSO_API_KEY to a key that the server knows and start this again."
        case _:
            return ""


@st.cache_resource(show_spinner=False, max_entries=64)
def _client(server: str, api_key: str) -> ApiClient:
    return ApiClient(Settings(server, api_key))
