"""The form of a new job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
import yaml

from dashboard.api_client import ApiProblem
from dashboard.components.connection import api, show
from dashboard.components.job_form import Choices, draw_form, form_fields
from dashboard.form_schema import Field
from dashboard.forms import nest
from dashboard.refusal import Refusal
from dashboard.settings import read_settings

DEFAULT_NAME = "demo"
REFUSAL = "refusal"


def page() -> None:
    """Asks for a job and submits it; a refused job keeps its values."""
    st.title("New job", anchor=False)
    try:
        settings = read_settings()
        choices = _choices(settings.server, settings.api_key)
    except ApiProblem as problem:
        show(problem)
        st.button("Try again")
        return
    found = [_named(field) for field in form_fields(choices)]
    refusal: Refusal | None = st.session_state.get(REFUSAL)
    if refusal is not None:
        with st.container(key="refusal"):
            st.error(refusal.summary(found))
    values = draw_form(found, refusal)
    _draw_end(found, values)


def _draw_end(found: Sequence[Field], values: dict[str, Any]) -> None:
    job = nest(list(found), values)
    with st.expander("As a job file"):
        st.code(yaml.safe_dump(job, sort_keys=False), language="yaml")
    if st.button("Submit job", type="primary", key="submit-job"):
        _submit(job, values)


def _submit(job: dict[str, Any], values: dict[str, Any]) -> None:
    try:
        accepted = api().submit(job)
    except ApiProblem as problem:
        st.session_state[REFUSAL] = Refusal(problem.detail, problem.errors, values)
        st.rerun()
    st.session_state.pop(REFUSAL, None)
    st.switch_page("pages/job.py", query_params={"job": accepted["id"]})


def _named(field: Field) -> Field:
    return replace(field, default=DEFAULT_NAME) if field.path == "name" else field


@st.cache_data(ttl=30, show_spinner=False)
def _choices(server: str, api_key: str) -> Choices:
    client = api()
    return Choices(
        client.job_schema(),
        client.methods(),
        [model["name"] for model in client.models()],
        [dataset["name"] for dataset in client.datasets()],
    )


page()
