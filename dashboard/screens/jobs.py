"""The list of jobs, live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from dashboard.api_client import ApiProblem
from dashboard.components import ticked
from dashboard.components.connection import REFRESH_S, api, show
from dashboard.components.job_row import draw_row
from dashboard.components.sign_in import may_act
from dashboard.components.state_badge import COLOURS
from dashboard.settings import read_settings

Json = dict[str, Any]
ALL = "all"
CURSORS, KNOWN = "jobs-cursors", "jobs-known"
SEARCH, STATE, SORT = "jobs-search", "jobs-state", "jobs-sort"
SORTS = {"newest": "Newest first", "oldest": "Oldest first", "name": "By name"}
# of a sparkline: more points than that are not told apart
_CURVE = 40


def page() -> None:
    """Heading and filters; the list under them refreshes itself."""
    st.title("Jobs", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", key="jobs-filters"):
        kept: dict[str, Any] = {"on_change": _first, "persist_state": "session"}
        st.text_input(
            "Search",
            key=SEARCH,
            type="search",
            placeholder="Name, id, method or who started it",
            live=True,
            width=280,
            **kept,
        )
        st.selectbox("State", [ALL, *COLOURS], key=STATE, width=130, **kept)
        st.selectbox(
            "Sort", list(SORTS), format_func=SORTS.__getitem__, key=SORT, width=150, **kept
        )
        if may_act():
            st.page_link("screens/new_job.py", label="**Start a new job**")
    _jobs()


@st.fragment(run_every=REFRESH_S)
def _jobs() -> None:
    found = _read()
    ticked.draw_acts()
    now = datetime.now(UTC)
    for job in found["items"]:
        draw_row(job, now)
    if not found["items"] and "stale" not in found:
        _draw_empty()
    _draw_pages(found.get("next"))


def _read() -> Json:
    """The jobs to show; while the server does not answer, those that were seen last."""
    cursors: list[str] = st.session_state.get(CURSORS, [])
    state = st.session_state.get(STATE, ALL)
    try:
        found = api().jobs(
            after=cursors[-1] if cursors else None,
            state=None if state == ALL else state,
            search=st.session_state.get(SEARCH) or None,
            sort=st.session_state.get(SORT),
            curve=_CURVE,
        )
    except ApiProblem as problem:
        show(problem)
        return {"items": [], "stale": True, **st.session_state.get(KNOWN, {})}
    st.session_state[KNOWN] = found
    return found


def _draw_empty() -> None:
    state, search = st.session_state.get(STATE, ALL), st.session_state.get(SEARCH)
    if search:
        st.info("No job fits the search" + (f" and is {state}." if state != ALL else "."))
    elif state != ALL:
        st.info(f"No job is {state}.")
    elif not may_act():
        st.info("There is no job in your projects yet.")
    else:
        _draw_first_steps()


def _draw_first_steps() -> None:
    st.info("There is no job yet. Fill in the form under **New job**, or send one from a shell:")
    st.code(
        f"curl -X POST {read_settings().server}/v1/jobs \\\n"
        '  -H "Authorization: Bearer $FEDKRSO_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        '  -d \'{"name": "demo", "rounds": 3}\'',
        language=None,
    )


def _draw_pages(following: str | None) -> None:
    with st.container(horizontal=True):
        if st.session_state.get(CURSORS):
            st.button("First page", key="first-page", on_click=_first)
        if following:
            st.button("Next page", key="next-page", on_click=_following, args=[following])


def _first() -> None:
    st.session_state[CURSORS] = []


def _following(cursor: str) -> None:
    st.session_state[CURSORS] = [*st.session_state.get(CURSORS, []), cursor]


page()
