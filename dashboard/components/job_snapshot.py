"""What is known of a job; kept in the session, so that a lost connection hides nothing.

A page may ask twice a second at most, and refreshes itself every two: job, events and the clients
of a round each time, and one of curve and rounds if it may have changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from dashboard.api_client import ApiClient

Json = dict[str, Any]
POINTS = 200
ROUNDS = 30
EVENTS = 500
_FRESH = "snapshot-fresh"


@dataclass(frozen=True)
class Snapshot:
    """A job, its curve, its newest rounds and events, and the clients of the chosen round."""

    job: Json
    points: list[Json] = field(default_factory=list)
    rounds: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    clients: dict[int, list[Json]] = field(default_factory=dict)
    # what the parts that are read in turn were read for
    points_of: Any = None
    rounds_of: Any = None


def known(job: str) -> Snapshot | None:
    """The last snapshot of a job in this session."""
    snapshot: Snapshot | None = st.session_state.get(_key(job))
    return snapshot


def read(client: ApiClient, job: str) -> Snapshot:
    """Reads the job anew; of its events only those that are not known yet."""
    before = known(job)
    if before is not None and st.session_state.pop(_FRESH, False):
        return before
    snapshot = _first(client, job) if before is None else _next(client, before)
    st.session_state[_key(job)] = snapshot
    return snapshot


def rerun_page() -> None:
    """Runs the whole page once more with what was just read."""
    st.session_state[_FRESH] = True
    st.rerun()


def clients(client: ApiClient, job: str, number: int) -> list[Json]:
    """What the clients of a round do; those of a round that has ended are read once."""
    snapshot = known(job) or Snapshot({})
    if number not in snapshot.clients or not _has_ended(snapshot, number):
        found = client.clients(job, number)
        st.session_state[_key(job)] = replace(snapshot, clients={number: found})
        return found
    return snapshot.clients[number]


def _has_ended(snapshot: Snapshot, number: int) -> bool:
    """Whether nothing changes any more, and did not when the clients were read."""
    settled = all(item["state"] not in ("pending", "leased") for item in snapshot.clients[number])
    return settled and number <= snapshot.job["rounds_closed"]


def _first(client: ApiClient, job: str) -> Snapshot:
    found = client.job(job)
    points, rounds = _points(client, job), client.rounds(job, ROUNDS)
    events = client.events(job, last=EVENTS)
    return Snapshot(found, points, rounds, events, {}, _curve(found), _doings(found, events))


def _next(client: ApiClient, before: Snapshot) -> Snapshot:
    name = before.job["id"]
    job = client.job(name)
    after = before.events[-1]["id"] if before.events else None
    events = [*before.events, *client.events(name, after)][-EVENTS:]
    now = replace(before, job=job, events=events)
    curve, doings = _curve(job), _doings(job, events)
    # the curve first: if both are always due, what is due for the rounds stays so
    if before.points_of != curve and before.rounds_of is not None:
        # the rounds' turn is next, even if nothing happens until then
        return replace(now, points=_points(client, name), points_of=curve, rounds_of=None)
    if before.rounds_of != doings:
        rounds = client.rounds(name, ROUNDS)
        return replace(now, rounds=rounds, rounds_of=doings)
    return now


def _points(client: ApiClient, job: str) -> list[Json]:
    (found,) = client.series([job], POINTS)
    return list(found["points"])


def _curve(job: Json) -> Any:
    """Changes with what the curve shows."""
    return job["rounds_closed"], job["metrics"], job["state"]


def _doings(job: Json, events: list[Json]) -> Any:
    """Changes with what the table of rounds shows."""
    return job["state"], job["bytes_up"], job["bytes_down"], events[-1:]


def _key(job: str) -> str:
    return f"snapshot-{job}"
