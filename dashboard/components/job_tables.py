"""The tables of a job's page: rounds, clients of a round, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard.components.connection import api, problems_shown
from dashboard.views import clients_table, events_text, newest_round, rounds_table

Json = Mapping[str, Any]
NEWEST = "the newest"
EVENTS_HEIGHT = 300


def draw_rounds(rounds: Sequence[Json]) -> None:
    """The table of rounds."""
    st.subheader("Rounds", anchor=False)
    if not rounds:
        st.caption("No round has been opened yet.")
        return
    st.dataframe(
        rounds_table(rounds),
        hide_index=True,
        key="rounds",
        alt="Rounds, newest first",
        column_config=_numbers(rounds_table(rounds).columns),
    )


def draw_clients(job: str, rounds: Sequence[Json], now: datetime) -> None:
    """What each client of a round is doing; the newest round unless one is chosen."""
    newest = newest_round(rounds)
    if newest is None:
        return
    st.subheader("Clients", anchor=False)
    numbers = sorted((item["round"] for item in rounds), reverse=True)
    choice = st.selectbox("Clients of round", [NEWEST, *numbers], key="clients-round", width=200)
    number = newest if choice == NEWEST else int(choice)
    with problems_shown():
        table = clients_table(api().clients(job, number), now)
        if table.empty:
            st.caption(f"Round {number} has no clients yet.")
            return
        st.dataframe(
            table,
            hide_index=True,
            key="clients",
            alt=f"Clients of round {number}",
            column_config=_numbers(table.columns),
        )


def draw_events(events: Sequence[Json]) -> None:
    """What happened, newest first."""
    st.subheader("Events", anchor=False)
    if not events:
        st.caption("Nothing has happened yet.")
        return
    with st.container(height=EVENTS_HEIGHT, key="events"):
        st.markdown(events_text(events))


def _numbers(columns: Sequence[str]) -> dict[str, Any]:
    """Formats by unit; metrics, which have none, get four decimals."""
    formats = {"(MB)": "%.2f", "(s)": "%.1f"}
    return {
        name: st.column_config.NumberColumn(format=formats.get(name[name.find("(") :], "%.4f"))
        for name in columns
        if name not in ("Round", "State", "Clients", "Client", "Doing", "Worker", "Attempt")
        and name != "Examples"
    }
