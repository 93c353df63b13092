"""What is known of a job; kept in the session, so that a lost connection hides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from dashboard.api_client import ApiClient

Json = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """A job, its rounds and its events at one time."""

    job: Json
    rounds: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)


def known(job: str) -> Snapshot | None:
    """The last snapshot of a job in this session."""
    snapshot: Snapshot | None = st.session_state.get(_key(job))
    return snapshot


def read(client: ApiClient, job: str) -> Snapshot:
    """Reads the job anew; of its events only those that are not known yet."""
    before = known(job)
    events = before.events if before else []
    after = events[-1]["id"] if events else None
    snapshot = Snapshot(client.job(job), client.rounds(job), [*events, *client.events(job, after)])
    st.session_state[_key(job)] = snapshot
    return snapshot


def _key(job: str) -> str:
    return f"snapshot-{job}"
