"""Which jobs are compared: an input whose content is the `jobs` of the address."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import words
from dashboard.api_client import ApiClient
from dashboard.components.connection import api

Json = dict[str, Any]
QUERY = "jobs"
PICKED = "compare-jobs"
WRITTEN = "compare-address"
MOST = 100


def draw_picker() -> list[str]:
    """Draws the input and returns the ids. The address changes with it, and it with the address."""
    address = st.query_params.get(QUERY, "")
    if st.session_state.get(WRITTEN) != address or PICKED not in st.session_state:
        # opened by a link, or the browser went back
        st.session_state[PICKED] = list(dict.fromkeys(address.split(",")))[:MOST] if address else []
        st.session_state[WRITTEN] = address
    known = _known(api())
    chosen: list[str] = st.session_state[PICKED]
    options = list(dict.fromkeys([*chosen, *known]))
    picked: list[str] = st.multiselect(
        "Jobs",
        options,
        key=PICKED,
        format_func=lambda job: known.get(job, job),
        max_selections=MOST,
        on_change=_write,
        placeholder="Choose jobs by name, method or id",
    )
    return picked


def forget(jobs: list[str]) -> None:
    """Takes jobs that are not there out of the address."""
    kept = [job for job in st.query_params.get(QUERY, "").split(",") if job not in jobs]
    _address(kept)


def _write() -> None:
    _address(st.session_state[PICKED])


def _address(jobs: list[str]) -> None:
    st.session_state[WRITTEN] = ",".join(jobs)
    if jobs:
        st.query_params[QUERY] = ",".join(jobs)
    else:
        st.query_params.pop(QUERY, None)


@st.cache_data(ttl=10, show_spinner=False, hash_funcs={ApiClient: lambda client: client.settings})
def _known(client: ApiClient) -> dict[str, str]:
    """The newest jobs by id, as they are called in the input."""
    found = client.jobs(limit=MOST)["items"]
    return {
        job["id"]: words.sentence([job["name"], job["method"], job["state"], job["id"][:6]])
        for job in found
    }
