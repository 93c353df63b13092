"""The state of a job as a coloured word."""

from __future__ import annotations

from typing import Literal

import streamlit as st

Colour = Literal["gray", "blue", "green", "red", "orange", "violet"]

COLOURS: dict[str, Colour] = {
    "queued": "gray",
    "running": "blue",
    "paused": "violet",
    "done": "green",
    "failed": "red",
    "cancelled": "orange",
}


def draw_state(state: str) -> None:
    """The word says it; the colour only helps."""
    st.badge(state, color=COLOURS.get(state, "gray"))
