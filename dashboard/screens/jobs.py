"""The list of jobs, live."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard.components.connection import REFRESH_S, api, problems_shown
from dashboard.components.job_row import draw_row
from dashboard.components.sign_in import may_act
from dashboard.components.state_badge import COLOURS
from dashboard.settings import read_settings

ALL = "all"
CURSORS = "jobs-cursors"
STATE = "jobs-state"


def page() -> None:
    """Heading and filter; the list under them refreshes itself."""
    st.title("Jobs", anchor=False)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    if may_act():
        left.page_link("screens/new_job.py", label="**Start a new job**")
    right.selectbox("State", [ALL, *COLOURS], key=STATE, on_change=_newest)
    _jobs()


@st.fragment(run_every=REFRESH_S)
def _jobs() -> None:
    with problems_shown():
        cursors: list[str] = st.session_state.get(CURSORS, [])
        state = st.session_state.get(STATE, ALL)
        found = api().jobs(
            after=cursors[-1] if cursors else None, state=None if state == ALL else state
        )
        now = datetime.now(UTC)
        for job in found["items"]:
            draw_row(job, now)
        if not found["items"]:
            _draw_empty(state)
        _draw_pages(cursors, found.get("next"))


def _draw_empty(state: str) -> None:
    if state != ALL:
        st.info(f"No job is {state}.")
        return
    if not may_act():
        st.info("There is no job in your projects yet.")
        return
    st.info("There is no job yet. Fill in the form under **New job**, or send one from a shell:")
    st.code(
        f"curl -X POST {read_settings().server}/v1/jobs \\\n"
        '  -H "Authorization: Bearer $FEDKRSO_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        '  -d \'{"name": "demo", "rounds": 3}\'',
        language="bash",
    )


def _draw_pages(cursors: list[str], following: str | None) -> None:
    with st.container(horizontal=True):
        if cursors:
            st.button("Newest jobs", on_click=_newest)
        if following:
            st.button("Older jobs", on_click=_older, args=[following])


def _newest() -> None:
    st.session_state[CURSORS] = []


def _older(cursor: str) -> None:
    st.session_state[CURSORS] = [*st.session_state.get(CURSORS, []), cursor]


page()
