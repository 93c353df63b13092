"""The client of this process, and how a failed request is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard.api_client import ApiClient, ApiProblem
from dashboard.settings import Settings, read_settings
from dashboard.words import plain

REFRESH_S = 2.0


def api() -> ApiClient:
    """The client for the server of the environment; sessions share its connections."""
    settings = read_settings()
    return _client(settings.server, settings.api_key)


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
        case 401 | 403:
            return " Set FEDKRSO_API_KEY to a key that the server knows and start this again."
        case _:
            return ""


@st.cache_resource(show_spinner=False, max_entries=4)
def _client(server: str, api_key: str) -> ApiClient:
    return ApiClient(Settings(server, api_key))
