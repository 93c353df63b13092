"""The page of one job: ?job=ID in its address. Live while the job runs."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
import yaml

from dashboard import views, words
from dashboard.api_client import ApiProblem
from dashboard.components import job_snapshot
from dashboard.components.connection import REFRESH_S, api, problems_shown, show
from dashboard.components.job_charts import draw_charts
from dashboard.components.job_header import draw_header, draw_tiles
from dashboard.components.job_snapshot import Snapshot
from dashboard.components.job_tables import draw_clients, draw_events, draw_rounds
from dashboard.components.model_export import draw_export


def page() -> None:
    """The job of the address, or the newest jobs to choose from."""
    job = st.query_params.get("job")
    if not job:
        _draw_choice()
        return
    snapshot = job_snapshot.known(job)
    live = snapshot is None or words.is_live(snapshot.job)
    st.fragment(_job, run_every=REFRESH_S if live else None)(job, live)


def _job(job: str, live: bool) -> None:
    snapshot = _read(job)
    if snapshot is None:
        return
    if live and not words.is_live(snapshot.job):
        # the whole page once more: its fragment is then one that does not refresh itself
        st.rerun()
    _draw(snapshot, datetime.now(UTC))


def _read(job: str) -> Snapshot | None:
    try:
        return job_snapshot.read(api(), job)
    except ApiProblem as problem:
        show(problem)
        return job_snapshot.known(job)


def _draw(snapshot: Snapshot, now: datetime) -> None:
    job, rounds = snapshot.job, snapshot.rounds
    draw_header(job, now)
    draw_tiles(job, now)
    draw_charts(rounds, job["rounds"])
    draw_rounds(rounds)
    draw_clients(job["id"], rounds, now)
    draw_events(snapshot.events)
    draw_export(job, views.closed_rounds(rounds))
    with st.expander("Job file", key="job-file"):
        st.code(yaml.safe_dump(job["spec"], sort_keys=False), language="yaml")


def _draw_choice() -> None:
    st.title("Job", anchor=False)
    st.write("Which job? These are the newest:")
    with problems_shown():
        for job in api().jobs(limit=10)["items"]:
            label = words.plain(words.sentence([job["name"], job["state"]]))
            st.page_link("pages/job.py", label=label, query_params={"job": job["id"]})
    st.page_link("pages/jobs.py", label="All jobs")


page()
