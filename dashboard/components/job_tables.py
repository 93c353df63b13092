"""The tables of a job's page: rounds, clients of a round, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.components.connection import api, problems_shown
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
        _show(table, "clients", f"Clients of round {number}")


def draw_events(events: Sequence[Json]) -> None:
    """What happened, newest first."""
    st.subheader("Events", anchor=False)
    if not events:
        st.caption("Nothing has happened yet.")
        return
    with st.container(height=EVENTS_HEIGHT, key="events"):
        st.markdown(events_text(events))


def _show(table: pd.DataFrame, key: str, alt: str) -> None:
    formats = {name: _FORMATS.get(_unit(name), METRIC_FORMAT) for name in _decimals(table)}
    columns = {name: st.column_config.NumberColumn(format=text) for name, text in formats.items()}
    st.dataframe(table, hide_index=True, key=key, alt=alt, column_config=columns, placeholder="—")


def _decimals(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.select_dtypes("float").columns]


def _unit(column: str) -> str:
    return column.rpartition(" ")[2]
