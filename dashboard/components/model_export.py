"""Preparing and downloading the model of a round."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import streamlit as st

from dashboard.components.connection import api, problems_shown
from dashboard.components.job_snapshot import known
from dashboard.views import closed_rounds

READY = "model-zip"
NEWEST = "the newest"
PATIENCE_S = 600.0
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class ReadyModel:
    """A fetched zip. The session keeps one, so that a rerun does not fetch it again."""

    job: str
    round: int
    content: bytes = field(repr=False)


@st.fragment
def draw_export(job_id: str) -> None:
    """Choice of a round, a button that fetches its model, and the download.

    A fragment of its own beside the one that refreshes itself: a large zip is then not hashed
    every two seconds. It knows what that one has read.
    """
    snapshot = known(job_id)
    if snapshot is None:
        return
    job, closed = snapshot.job, closed_rounds(snapshot.job)
    st.subheader("Model", anchor=False)
    if not closed:
        st.caption("There is a model to download as soon as a round is closed.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        options: list[str | int] = [NEWEST, *closed]
        choice = st.selectbox("Model after round", options, key="export-round", width=200)
        asked = st.button("Prepare model download", key="prepare-model")
    if asked:
        with problems_shown():
            _prepare(job["id"], closed[0] if choice == NEWEST else int(choice))
    ready: ReadyModel | None = st.session_state.get(READY)
    if ready and ready.job == job["id"]:
        _draw_download(job["name"], ready)


def _draw_download(name: str, ready: ReadyModel) -> None:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"
    st.download_button(
        f"Download model of round {ready.round} (zip)",
        # not a callable: its address changes with each rerun, and a click may come too late
        data=ready.content,
        file_name=f"{stem}-round-{ready.round}.zip",
        mime="application/zip",
        key="download-model",
        on_click="ignore",
    )


def _prepare(job: str, number: int) -> None:
    st.session_state.pop(READY, None)
    end = time.monotonic() + PATIENCE_S
    with st.spinner(f"The server builds the model of round {number} …", show_time=True):
        while time.monotonic() < end:
            answer = api().model(job, number)
            if answer.retry_after_s is None:
                st.session_state[READY] = ReadyModel(job, number, answer.content)
                return
            time.sleep(min(answer.retry_after_s, LONGEST_PAUSE_S))
    st.warning("The model is still being built; ask again later.")
