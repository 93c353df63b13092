"""Beside the form: who gets which rows, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import division
from dashboard.api_client import ApiProblem
from dashboard.components.connection import api, show
from dashboard.components.figure import draw_figure
from dashboard.words import plain

Json = dict[str, Any]
DIVIDED = "division"


def draw_division(job: Json, labels: Mapping[str, str]) -> None:
    """A button, and the division of the rows as the form was when it was pressed last."""
    st.subheader("Division of the rows", anchor=False)
    if st.button("Show the division", key="show-division", width="stretch"):
        with st.spinner("The server divides the rows …"):
            st.session_state[DIVIDED] = (division.relevant(job), _ask(job))
    with st.container(key="division"):
        asked, answer = st.session_state.get(DIVIDED, (None, None))
        if asked is None:
            st.caption("How many rows of which label each client gets, before anything runs.")
            return
        if asked != division.relevant(job):
            st.caption(":orange[For the form as it was; it has changed since.]")
        _draw(answer, labels)


def _ask(job: Json) -> Json | ApiProblem:
    try:
        return api().partition(job)
    except ApiProblem as problem:
        return problem


def _draw(answer: Json | ApiProblem, labels: Mapping[str, str]) -> None:
    if not isinstance(answer, ApiProblem):
        draw_figure(division.figure(answer))
        return
    if not answer.errors:
        show(answer)
    for error in answer.errors:
        label = labels.get(error["field"], error["field"])
        st.markdown(f":red[**{plain(label)}**: {plain(error['message'])}]")
