"""What each client of a round did when, as the bars of a Gantt chart. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from dashboard import words

Json = Mapping[str, Any]
PHASES = ("waiting", "downloading", "training", "uploading", "lost", "failed")
# as many rows as fit on a page
MOST = 40


class Bar(NamedTuple):
    """A client's phase; times are those of the API."""

    client: int
    phase: str
    start: datetime
    end: datetime


def timeline_frame(
    clients: Sequence[Json], events: Sequence[Json], number: int, now: datetime
) -> pd.DataFrame:
    """A row for each bar: client, phase, start and end in seconds since the round began.

    Of more than MOST clients those that took longest. The events are those that are known; what
    they say of earlier attempts is shown as lost. Between lease and update only the seconds of the
    training are known: the rest is shared between download and upload as their bytes are.
    """
    bars = [bar for item in clients for bar in _bars(item, now)]
    bars += _lost(events, number)
    zero = min((bar.start for bar in bars), default=now)
    shown = set(slowest(bars, MOST))
    rows = [_row(bar, zero) for bar in bars if bar.client in shown and bar.end > bar.start]
    frame = pd.DataFrame(rows, columns=["client", "phase", "start", "end", "seconds"])
    # numbers even without a row
    return frame.astype({"start": "float64", "end": "float64", "seconds": "float64"})


def slowest(bars: Sequence[Bar], most: int) -> list[int]:
    """The clients whose last bars end last."""
    ends: dict[int, datetime] = {}
    for bar in bars:
        ends[bar.client] = max(bar.end, ends.get(bar.client, bar.end))
    return sorted(ends, key=lambda client: ends[client], reverse=True)[:most]


def caption(frame: pd.DataFrame, clients: Sequence[Json]) -> str:
    """The chart in words: who is where, and who took longest."""
    if frame.empty:
        return "No client has begun yet."
    states = [item["state"] for item in clients]
    parts = [
        f"{states.count(state)} {word}"
        for state, word in (
            ("done", "done"),
            ("leased", "at work"),
            ("pending", "waiting"),
            ("failed", "failed"),
            ("cancelled", "cancelled"),
        )
        if state in states
    ]
    last = frame.sort_values("end").iloc[-1]
    shown = frame["client"].nunique()
    limited = f" Shown are the {shown} that took longest." if shown < len(clients) else ""
    return (
        f"{words.count(len(clients), 'client')}: {', '.join(parts)}. The longest is client "
        f"{last['client']:.0f}: {words.seconds(last['end'])} since the round began.{limited}"
    )


def _bars(item: Json, now: datetime) -> Iterator[Bar]:
    client, leased = item["client"], words.when(item.get("leased_at"))
    offered = words.when(item.get("offered_at"))
    if item["state"] == "pending" or leased is None:
        if offered is not None and item["state"] == "pending":
            yield Bar(client, "waiting", offered, now)
        return
    if offered is not None and item["attempt"] <= 1:
        yield Bar(client, "waiting", offered, leased)
    done = words.when(item.get("done_at"))
    if item["state"] == "done" and done is not None:
        yield from _parts(item, leased, done)
    elif item["state"] == "leased":
        yield Bar(client, words.at_work(item).partition(",")[0], leased, now)
    else:
        yield Bar(client, "failed", leased, words.when(item.get("heartbeat_at")) or leased)


def _parts(item: Json, leased: datetime, done: datetime) -> Iterator[Bar]:
    whole = done - leased
    train = min(1.0, item["seconds"].get("train", 0.0) / max(whole.total_seconds(), 1e-9))
    up, down = item["bytes_up"], item["bytes_down"]
    begins = leased + whole * (1 - train) * (down / max(1, up + down))
    ends = begins + whole * train
    yield Bar(item["client"], "downloading", leased, begins)
    yield Bar(item["client"], "training", begins, ends)
    yield Bar(item["client"], "uploading", ends, done)


def _lost(events: Sequence[Json], number: int) -> Iterator[Bar]:
    """Attempts that came to nothing: from a lease to its loss."""
    began: dict[int, datetime] = {}
    for event in sorted(events, key=lambda item: item["id"]):
        data, at = event.get("data") or {}, words.when(event["at"])
        if data.get("round") != number or at is None:
            continue
        client = int(data.get("client", -1))
        if event["kind"] == "leased":
            began[client] = at
        elif event["kind"] == "lease-lost" and client in began:
            yield Bar(client, "lost", began.pop(client), at)


def _row(bar: Bar, zero: datetime) -> dict[str, Any]:
    start, end = ((at - zero).total_seconds() for at in (bar.start, bar.end))
    return {
        "client": bar.client,
        "phase": bar.phase,
        "start": start,
        "end": end,
        "seconds": end - start,
    }
