"""The top of a job's page: state, progress, what it waits for, figures, cancel or delete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.connection import api, problems_shown
from dashboard.components.state_badge import draw_state

Json = Mapping[str, Any]


def draw_header(job: Json, now: datetime) -> None:
    """Name and state, how far the job is and why it waits, stopped or failed."""
    st.title(words.plain(job["name"]), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", key="job-state"):
        draw_state(job["state"])
        what = words.sentence([job["method"], job["model"], f"started {_start(job, now)}"])
        st.caption(words.plain(what), width="content")
        if words.is_live(job):
            _draw_cancel(job["id"])
        elif job["state"] in words.ENDED:
            _draw_delete(job["id"])
    st.progress(*words.progress(job))
    if job["state"] == "failed":
        st.error(words.plain(job.get("reason") or "The job failed; no reason was given."))
    elif stopped := words.stopped(job):
        st.warning(words.plain(stopped))
    elif waiting := words.waiting(job):
        st.caption(words.plain(waiting))


def draw_tiles(job: Json, now: datetime) -> None:
    """The figures of the job so far."""
    metrics = job["metrics"]
    tiles = {
        "Accuracy": words.metric(metrics, "accuracy"),
        "Loss": words.metric(metrics, "loss"),
        "Bytes up": words.size(job["bytes_up"]),
        "Bytes down": words.size(job["bytes_down"]),
        "Peak memory": words.size(job["peak_memory_bytes"] or None),
        "Elapsed": words.elapsed(job, now),
    }
    with st.container(horizontal=True, key="job-tiles"):
        for label, value in tiles.items():
            st.metric(label, value, border=True, width=160)


def _start(job: Json, now: datetime) -> str:
    return words.ago(job["started_at"], now) if job.get("started_at") else "not yet"


def _draw_cancel(job: str) -> None:
    with st.popover("Cancel job", key="cancel-job"):
        st.write("Its closed rounds are kept; it cannot be started again.")
        if st.button("Yes, cancel it", key="confirm-cancel"):
            with problems_shown():
                api().cancel(job)
                st.rerun()


def _draw_delete(job: str) -> None:
    with st.popover("Delete job", key="delete-job"):
        st.write("Its rounds, events and models are removed for good.")
        if st.button("Yes, delete it", key="confirm-delete"):
            with problems_shown():
                api().delete(job)
                st.switch_page("screens/jobs.py")
