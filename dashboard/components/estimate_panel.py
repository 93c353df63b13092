"""Beside the form: what the job would take, asked from the server when the user wants to know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import forecast, words
from dashboard.access_api import ClientsApi
from dashboard.api_client import ApiProblem
from dashboard.charts import memory_parts, parts_caption
from dashboard.components.connection import api, problems_shown, show
from dashboard.refusal import REFUSAL, Refusal

Json = dict[str, Any]
ASKED, ANSWERED = "estimate-asked", "estimate-answered"
LOOK_S = 0.5
WAITING = "The server estimates; the first time takes longest. The form can be used meanwhile."


@dataclass(frozen=True)
class Asked:
    """A question to the server: the job, the form's values by path, and the answer to come."""

    job: Json
    values: Mapping[str, Any]
    answer: Future[Json]


@dataclass(frozen=True)
class Answered:
    """What the server said about a job."""

    job: Json
    said: Json | ApiProblem


def take_answer() -> None:
    """Takes an answer that has come. Before the form is drawn: a refusal stands at its fields."""
    asked: Asked | None = st.session_state.get(ASKED)
    if asked is None or not asked.answer.done():
        return
    del st.session_state[ASKED]
    st.session_state.pop(REFUSAL, None)
    try:
        st.session_state[ANSWERED] = Answered(asked.job, asked.answer.result())
    except ApiProblem as problem:
        st.session_state[ANSWERED] = Answered(asked.job, problem)
        if problem.errors:
            refusal = Refusal(problem.detail, problem.errors, asked.values)
            st.session_state[REFUSAL] = refusal


def draw_estimate(job: Json, values: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """A button, and the forecast of the job; once it was pressed, it follows the form.

    It takes the server some seconds, so that there is one question at a time, asked in a thread:
    the form can be used meanwhile. `labels` are those of the inputs, by path.
    """
    waiting = ASKED in st.session_state
    st.subheader("Estimate", anchor=False)
    everything = st.toggle("Compare with all methods", key="estimate-all")
    follows = st.toggle("Follow the form", True, key="estimate-follows")
    pressed = st.button("Estimate", key="estimate-job", disabled=waiting, width="stretch")
    answered: Answered | None = st.session_state.get(ANSWERED)
    changed = answered is not None and answered.job != job
    if pressed or (follows and changed and not waiting):
        client, methods = api(), "all" if everything else _beside(job)
        answer = _in_background(lambda: client.estimate(job, methods))
        st.session_state[ASKED] = Asked(job, dict(values), answer)
        st.rerun()
    with st.container(key="estimate"):
        if waiting:
            _await()
        if answered is not None:
            _draw_answer(answered, job, labels)
        elif not waiting:
            st.caption("What the job will send, hold and take, before it starts.")


def _beside(job: Json) -> str:
    """What a job's method is always compared with: full fine-tuning and LoRA."""
    own = job.get("method", {}).get("name")
    return ",".join(name for name in forecast.YARDSTICKS if name != own)


def _in_background(ask: Callable[[], Json]) -> Future[Json]:
    """The answer to come; its thread does not keep the process from ending."""
    answer: Future[Json] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


@st.fragment(run_every=LOOK_S)
def _await() -> None:
    asked: Asked | None = st.session_state.get(ASKED)
    if asked is None or asked.answer.done():
        st.rerun()
    st.caption(WAITING)


def _draw_answer(answered: Answered, job: Json, labels: Mapping[str, str]) -> None:
    if answered.job != job:
        st.caption(":orange[For the form as it was; it has changed since.]")
    if isinstance(answered.said, ApiProblem):
        if answered.said.errors:
            st.caption("The job cannot run as it is; the fields say why.")
        else:
            show(answered.said)
        return
    _draw_own(answered.said, answered.job, labels)
    if len(answered.said["forecasts"]) > 1:
        _draw_others(answered.said)


def _draw_own(said: Json, job: Json, labels: Mapping[str, str]) -> None:
    own = said["forecasts"][0]
    title = words.sentence([own["method"], said["device"], "a client in a round"])
    st.caption(words.plain(title))
    tiles = list(forecast.tiles(own).items())
    for row in (tiles[:2], tiles[2:]):
        for column, (label, value) in zip(st.columns(2), row, strict=True):
            column.metric(label, value, border=True)
    st.caption(words.plain(forecast.whole_job(own)))
    for line in forecast.fits(said, job.get("budget", {}), labels):
        st.markdown(line)
    _draw_small_clients(own, job)
    _draw_memory(forecast.able(said))
    if lines := forecast.precisions(own, job.get("local", {}).get("precision")):
        st.markdown("**Other precisions**")
        st.markdown("\n".join(f"- {line}" for line in lines))


def _draw_small_clients(own: Json, job: Json) -> None:
    """Warns of registered clients without the memory for the job, if it is for such clients."""
    if not job.get("clients", {}).get("external"):
        return
    with problems_shown():
        if warning := forecast.too_small(own, ClientsApi(api()).clients()):
            st.warning(words.plain(warning))


def _draw_memory(able: Sequence[Mapping[str, Any]]) -> None:
    figure = memory_parts(forecast.memory_frame(able))
    st.markdown(f"**{figure.title}**")
    st.altair_chart(figure.chart, width="stretch", key="vega-parts", alt=figure.caption)
    # in words only the job's own: those of the others are in the chart's text alternative
    st.caption(words.plain(parts_caption(forecast.memory_frame(able[:1]))))


def _draw_others(said: Json) -> None:
    st.markdown("**Side by side, a client in a round**")
    table = forecast.comparison(forecast.able(said))
    st.dataframe(
        table,
        hide_index=True,
        key="estimate-methods",
        alt="Estimates of the methods",
        column_config={
            name: st.column_config.NumberColumn(format="%.2f")
            for name in table.columns
            if name != "Method"
        },
        placeholder="—",
    )
    for line in [*forecast.refusals(said), *forecast.too_large(said)]:
        st.markdown(f"- {line}")
