"""Jobs that are ticked in the list, kept while others are looked at, and what is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import job_list, words
from dashboard.api_client import ApiProblem
from dashboard.components.connection import api
from dashboard.components.job_picker import MOST, QUERY
from dashboard.components.sign_in import may_act

Json = Mapping[str, Any]
TICKED, SAID = "ticked-jobs", "ticked-said"


def draw_box(job: Json) -> None:
    """The box of a job; what is known of a ticked one is renewed."""
    chosen, key = _chosen(), f"tick-{job['id']}"
    if job["id"] in chosen:
        chosen[job["id"]] = job
    label = f"Tick {job['name']}"
    st.session_state.setdefault(key, job["id"] in chosen)
    st.checkbox(label, key=key, label_visibility="collapsed", on_change=_tick, args=[job])


def draw_acts() -> None:
    """What can be done with the ticked jobs; always there, so that the list does not jump."""
    chosen = list(_chosen().values())
    with st.container(horizontal=True, vertical_alignment="center", key="ticked"):
        said = f"{job_list.counted(len(chosen))} ticked" if chosen else "Tick jobs to act on them"
        st.caption(said, width="content")
        if st.button("Compare", key="compare-ticked", disabled=not 0 < len(chosen) <= MOST):
            jobs = ",".join(job["id"] for job in chosen)
            st.switch_page("screens/compare.py", query_params={QUERY: jobs})
        if may_act():
            _draw_act("cancel", chosen, "Closed rounds are kept; no way back.")
            _draw_act("delete", chosen, "Rounds, events and models are removed for good.")
        st.button("Untick all", key="untick", disabled=not chosen, on_click=_clear, type="tertiary")
    for line in st.session_state.pop(SAID, []):
        st.warning(line)


def _draw_act(act: str, chosen: list[Json], warning: str) -> None:
    jobs = job_list.can(act, chosen)
    title = act.capitalize()
    with st.popover(title, key=f"{act}-ticked", disabled=not jobs):
        st.write(f"{title} {job_list.counted(len(jobs))}? {warning}")
        if left := job_list.left_out(act, len(jobs), len(chosen)):
            st.caption(left)
        st.button(f"Yes, {act}", key=f"confirm-{act}-ticked", on_click=_do, args=[act, jobs])


def _do(act: str, jobs: list[Json]) -> None:
    """Does it to each; those that it fails for stay ticked, and are named."""
    client, said = api(), []
    do = client.cancel if act == "cancel" else client.delete
    for job in jobs:
        try:
            do(job["id"])
        except ApiProblem as problem:
            said.append(f"**{words.plain(job['name'])}**: {words.plain(problem.detail)}")
        else:
            _chosen().pop(job["id"], None)
            st.session_state.pop(f"tick-{job['id']}", None)
    st.session_state[SAID] = said


def _chosen() -> dict[str, Json]:
    chosen: dict[str, Json] = st.session_state.setdefault(TICKED, {})
    return chosen


def _tick(job: Json) -> None:
    if st.session_state[f"tick-{job['id']}"]:
        _chosen()[job["id"]] = job
    else:
        _chosen().pop(job["id"], None)


def _clear() -> None:
    for job in list(_chosen()):
        st.session_state.pop(f"tick-{job}", None)
    _chosen().clear()
