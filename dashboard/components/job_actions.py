"""What can be done with a job: only what its state allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.connection import api, problems_shown

Json = Mapping[str, Any]
# the act that is one click away in a state, and what it is called
_ACTS = {
    "queued": ("pause", "Pause"),
    "running": ("pause", "Pause"),
    "paused": ("resume", "Resume"),
    "failed": ("retry", "Retry from its last closed round"),
}


def draw_actions(job: Json) -> None:
    """Buttons beside the state of a job."""
    if job["state"] in _ACTS:
        act, label = _ACTS[job["state"]]
        if st.button(label, key=f"{act}-job"):
            _act(job["id"], act)
    if words.is_live(job):
        _draw_priority(job)
        _draw_cancel(job["id"])
    _draw_clone(job)
    if job["state"] in words.ENDED:
        _draw_delete(job["id"])


def _act(job: str, act: str) -> None:
    with problems_shown():
        api().act(job, act)
        st.rerun()


def _draw_priority(job: Json) -> None:
    with st.popover(f"Priority {job['priority']}", key="job-priority"):
        chosen = st.number_input(
            "Priority", -1000, 1000, int(job["priority"]), key="priority", help="Higher goes first"
        )
        if st.button("Change it", key="confirm-priority"):
            with problems_shown():
                api().prioritize(job["id"], int(chosen))
                st.rerun()


def _draw_cancel(job: str) -> None:
    with st.popover("Cancel job", key="cancel-job"):
        st.write("Its closed rounds are kept; it cannot be started again.")
        if st.button("Yes, cancel it", key="confirm-cancel"):
            with problems_shown():
                api().cancel(job)
                st.rerun()


def _draw_clone(job: Json) -> None:
    with st.popover("Clone", key="clone-job"):
        st.write("The same job anew. Another seed gives another division and other batches.")
        name = st.text_input("Name", job["name"], key="clone-name")
        seed = st.text_input("Seed", str(job["spec"].get("seed", 0)), key="clone-seed")
        if st.button("Submit the clone", key="confirm-clone"):
            with problems_shown():
                made = api().clone(job["id"], {"name": name, "seed": seed})
                st.switch_page("screens/job.py", query_params={"job": made["id"]})


def _draw_delete(job: str) -> None:
    with st.popover("Delete job", key="delete-job"):
        st.write("Its rounds, events and models are removed for good.")
        if st.button("Yes, delete it", key="confirm-delete"):
            with problems_shown():
                api().delete(job)
                st.switch_page("screens/jobs.py")
