"""The top of a job's page: state, actions, progress, what it waits for, figures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.job_actions import draw_actions
from dashboard.components.sign_in import may_act
from dashboard.components.state_badge import draw_state

Json = Mapping[str, Any]


def draw_header(job: Json, now: datetime) -> None:
    """Name and state, how far the job is and why it waits, stopped or failed."""
    st.title(words.plain(job["name"]), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", key="job-state"):
        draw_state(job["state"])
        started = f"started {_start(job, now)}"
        what = words.sentence([words.whose(job), job["method"], job["model"], started])
        st.caption(words.plain(what), width="content")
        if may_act():
            draw_actions(job)
    share, text = words.progress(job)
    st.progress(share, words.sentence([text, words.remaining(job, now)]))
    if job["state"] == "failed":
        reason = job.get("reason") or "The job failed; no reason was given."
        st.error(f"{words.plain(reason)}\n\n{words.plain(words.advice(job))}")
    elif stopped := words.stopped(job):
        st.warning(words.plain(stopped))
    elif waiting := words.waiting(job):
        _draw_waiting(waiting, words.waits(job, now))


def draw_tiles(job: Json, now: datetime) -> None:
    """The figures of the job so far."""
    metrics, headline = job["metrics"], words.headline(job)
    tiles = {
        words.metric_name(headline): words.metric(metrics, headline),
        "Loss": words.metric(metrics, "loss"),
        **words.worst(metrics),
        "Bytes up": words.size(job["bytes_up"]),
        "Bytes down": words.size(job["bytes_down"]),
        "Peak memory": words.size(job["peak_memory_bytes"] or None),
        "Elapsed": words.elapsed(job, now),
    }
    with st.container(horizontal=True, key="job-tiles"):
        for label, value in tiles.items():
            st.metric(label, value, border=True, width=160)


def _draw_waiting(sentence: str, waits: list[str]) -> None:
    """What the job waits for, in a sentence; below, each thing with its times."""
    st.caption(words.plain(sentence))
    if waits:
        with st.expander("Since when, until when", key="job-waiting"):
            st.markdown("\n".join(f"- {words.plain(wait)}" for wait in waits))


def _start(job: Json, now: datetime) -> str:
    return words.ago(job["started_at"], now) if job.get("started_at") else "not yet"
