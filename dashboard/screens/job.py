"""The page of one job: ?job=ID in its address. Live while the job runs."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
import yaml

from dashboard import words
from dashboard.api_client import ApiProblem
from dashboard.components import job_snapshot
from dashboard.components.connection import REFRESH_S, api, problems_shown, show
from dashboard.components.job_charts import draw_charts
from dashboard.components.job_header import draw_header, draw_tiles
from dashboard.components.job_snapshot import Snapshot
from dashboard.components.job_tables import draw_events, draw_round, draw_rounds
from dashboard.components.model_export import draw_export


def page() -> None:
    """The job of the address, or the newest jobs to choose from."""
    job = st.query_params.get("job")
    if not job:
        _draw_choice()
        return
    snapshot = job_snapshot.known(job)
    live = snapshot is None or words.is_live(snapshot.job)
    early = st.empty()
    if snapshot is None:
        # the browser loads what draws charts while the server reads what is on them
        early.vega_lite_chart({"mark": "point", "height": 1}, width="stretch", key="early")
    st.fragment(_job, run_every=REFRESH_S if live else None)(job, live)
    early.empty()
    if job_snapshot.known(job) is not None:
        draw_export(job)


def _job(job: str, live: bool) -> None:
    before = job_snapshot.known(job)
    try:
        snapshot = job_snapshot.read(api(), job)
    except ApiProblem as problem:
        show(problem)
        _draw_stale(job)
        return
    turned = live != words.is_live(snapshot.job)  # it ended, or a retry brought it back
    if turned or _has_model(before) != _has_model(snapshot):
        # what is outside of this fragment changes too
        job_snapshot.rerun_page()
    now = datetime.now(UTC)
    _draw_progress(snapshot, now)
    draw_round(snapshot.job, snapshot, now)
    _draw_rest(snapshot)


def _has_model(snapshot: Snapshot | None) -> bool:
    return snapshot is not None and snapshot.job["rounds_closed"] > 0


def _draw_stale(job: str) -> None:
    """What was known before the server went away."""
    snapshot = job_snapshot.known(job)
    if snapshot is not None:
        _draw_progress(snapshot, datetime.now(UTC))
        _draw_rest(snapshot)


def _draw_progress(snapshot: Snapshot, now: datetime) -> None:
    job = snapshot.job
    draw_header(job, now)
    draw_tiles(job, now)
    draw_charts(job, snapshot.points)
    draw_rounds(snapshot.rounds)


def _draw_rest(snapshot: Snapshot) -> None:
    draw_events(snapshot.events)
    # the browser loads a megabyte and a half to show code: only for who looks at it
    file = st.expander("Job file", key="job-file", on_change="rerun")
    if file.open:
        file.code(yaml.safe_dump(snapshot.job["spec"], sort_keys=False), language=None)


@st.fragment(run_every=REFRESH_S)
def _draw_choice() -> None:
    st.title("Job", anchor=False)
    st.write("Which job? These are the newest:")
    with problems_shown():
        for job in api().jobs(limit=10)["items"]:
            label = words.plain(words.sentence([job["name"], job["state"]]))
            # not a page link: to the page that is open it leads nowhere
            if st.button(label, key=f"open-{job['id']}"):
                st.query_params["job"] = job["id"]
                st.rerun()
    st.page_link("screens/jobs.py", label="All jobs")


page()
