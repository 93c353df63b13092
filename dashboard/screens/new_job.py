"""The form of a new job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.api_client import ApiClient, ApiProblem
from dashboard.components.connection import REFRESH_S, api, show
from dashboard.components.division_panel import draw_division
from dashboard.components.estimate_panel import draw_estimate, take_answer
from dashboard.components.job_file import draw_job_file
from dashboard.components.job_form import Choices, draw_form, form_fields
from dashboard.components.sign_in import me
from dashboard.form_field import Field
from dashboard.forms import nest
from dashboard.refusal import REFUSAL, Refusal

DEFAULT_NAME = "demo"
# of the width: the form, and beside it what the job would take
FORM, BESIDE = 5, 3


def page() -> None:
    """Asks for a job and submits it; a refused job keeps its values."""
    st.title("New job", anchor=False)
    try:
        choices = _choices(api())
    except ApiProblem:
        _await_server()
        return
    take_answer()
    found = [_named(field) for field in form_fields(choices)]
    refusal: Refusal | None = st.session_state.get(REFUSAL)
    # always there: what comes and goes above an input would make the browser forget its state
    with st.container(key="refusal"):
        if refusal is not None:
            st.error(refusal.summary(found))
    form, beside = st.columns([FORM, BESIDE], gap="large")
    with form:
        values = draw_form(found, refusal, choices.uploads)
        job = nest(found, values)
        _draw_end(job, values)
    with beside:
        labels = {field.path: field.label for field in found}
        draw_estimate(job, values, labels)
        draw_division(job, labels)


@st.fragment(run_every=REFRESH_S)
def _await_server() -> None:
    try:
        _choices(api())
    except ApiProblem as problem:
        show(problem)
        return
    st.rerun()


def _draw_end(job: dict[str, Any], values: dict[str, Any]) -> None:
    project = _draw_project()
    draw_job_file(job, project)
    if st.button("Submit job", type="primary", key="submit-job"):
        _submit(job, values, project)
    if REFUSAL in st.session_state:
        st.markdown(":red[The job was not accepted; the top of the page says why.]")


def _draw_project() -> str | None:
    """The project that the job goes into; not asked where there is no choice."""
    projects: list[str] = (me() or {}).get("projects", [])
    if len(projects) < 2:
        return None
    first = projects.index("default") if "default" in projects else 0
    return st.selectbox("Project", projects, first, key="project", width=300)


def _submit(job: dict[str, Any], values: dict[str, Any], project: str | None) -> None:
    try:
        accepted = api().submit(job, project)
    except ApiProblem as problem:
        st.session_state[REFUSAL] = Refusal(problem.detail, problem.errors, values)
        st.rerun()
    st.session_state.pop(REFUSAL, None)
    st.switch_page("screens/job.py", query_params={"job": accepted["id"]})


def _named(field: Field) -> Field:
    return replace(field, default=DEFAULT_NAME) if field.path == "name" else field


@st.cache_data(ttl=30, show_spinner=False, hash_funcs={ApiClient: lambda client: client.settings})
def _choices(client: ApiClient) -> Choices:
    return Choices(
        client.job_schema(),
        client.methods(),
        [model["name"] for model in client.models()],
        [dataset["name"] for dataset in client.datasets()],
        client.uploads(),
    )


page()
