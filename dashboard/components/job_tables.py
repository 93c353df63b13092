"""The tables of a job's page: rounds, clients of a round, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import words
from dashboard.components import job_snapshot
from dashboard.components.connection import api, problems_shown
from dashboard.components.figure import draw_figure
from dashboard.components.job_snapshot import ROUNDS, Snapshot
from dashboard.job_views import extremes
from dashboard.timeline import timeline_frame
from dashboard.timeline_figure import timeline_figure
from dashboard.views import clients_table, events_text, newest_round, rounds_table

Json = Mapping[str, Any]
NEWEST = "the newest"
EVENTS_HEIGHT = 300
METRIC_FORMAT = "%.4f"
_FORMATS = {"(MB)": "%.2f", "(s)": "%.1f", "Examples": "%.0f", "round": "%.0f", "late": "%.0f"}


def draw_rounds(rounds: Sequence[Json]) -> None:
    """The table of rounds."""
    st.subheader("Rounds", anchor=False)
    if not rounds:
        st.caption("No round has been opened yet.")
        return
    _show(rounds_table(rounds), "rounds", "Rounds, newest first")
    if rounds[0]["round"] > 1:
        st.caption(f"The newest {ROUNDS}; the charts show all of them.")


def draw_round(job: Json, snapshot: Snapshot, now: datetime) -> None:
    """The clients of a round: what each did when, and in a table; the newest unless chosen."""
    newest = newest_round(snapshot.rounds)
    if newest is None:
        return
    st.subheader("Clients", anchor=False)
    options: list[str | int] = [NEWEST, *range(newest, 0, -1)]
    choice = st.selectbox("Clients of round", options, key="clients-round", width=200)
    number = newest if choice == NEWEST else int(choice)
    with problems_shown():
        clients = job_snapshot.clients(api(), job["id"], number)
        if not clients:
            st.caption(f"Round {number} has no clients yet.")
            return
        frame = timeline_frame(clients, snapshot.events, number, now)
        draw_figure(timeline_figure(frame, clients))
        if standing_out := extremes(clients):
            st.caption(words.plain(words.sentence(standing_out)))
        _show(clients_table(clients, now), "clients", f"Clients of round {number}")


def draw_events(events: Sequence[Json]) -> None:
    """What happened, newest first."""
    st.subheader("Events", anchor=False)
    if not events:
        st.caption("Nothing has happened yet.")
        return
    quiet = st.checkbox(
        "Leave out routine", key="events-quiet", help="Clients that get work and hand it in"
    )
    with st.container(height=EVENTS_HEIGHT, key="events"):
        st.markdown(events_text(events, quiet) or "Nothing but routine.")


def _show(table: pd.DataFrame, key: str, alt: str) -> None:
    formats = {name: _FORMATS.get(_unit(name), METRIC_FORMAT) for name in _decimals(table)}
    columns = {name: st.column_config.NumberColumn(format=text) for name, text in formats.items()}
    st.dataframe(table, hide_index=True, key=key, alt=alt, column_config=columns, placeholder="—")


def _decimals(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.select_dtypes("float").columns]


def _unit(column: str) -> str:
    return column.rpartition(" ")[2]
