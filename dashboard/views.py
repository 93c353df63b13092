"""JSON of the API to pandas frames. Pure, and free of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import nan
from typing import Any

import pandas as pd

from dashboard import words

Json = Mapping[str, Any]
MB = 1e6
# events of every client in every round
ROUTINE = ("leased", "update")


def rounds_table(rounds: Sequence[Json]) -> pd.DataFrame:
    """The table of rounds, newest first; a metric that any round has is a column."""
    names = _metric_names(rounds)
    newest_first = sorted(rounds, key=lambda item: item["round"], reverse=True)
    return pd.DataFrame([_round_row(item, names) for item in newest_first])


def clients_table(clients: Sequence[Json], now: datetime) -> pd.DataFrame:
    """What each client of a round is doing."""
    in_order = sorted(clients, key=lambda item: (item["client"], item["round"]))
    late = len({item["round"] for item in clients}) > 1
    return pd.DataFrame(
        [_client_row(item, now) | (_late(item) if late else {}) for item in in_order]
    )


def events_text(events: Sequence[Json], quiet: bool = False, most: int = 200) -> str:
    """Events newest first as a markdown list; their texts are shown as they are.

    `quiet` leaves out what happens in every round of every client.
    """
    shown = [item for item in events if not (quiet and item["kind"] in ROUTINE)]
    newest = sorted(shown, key=lambda item: item["id"], reverse=True)[:most]
    return "\n".join(f"- `{_clock(item['at'])}` {words.plain(item['text'])}" for item in newest)


def newest_round(rounds: Sequence[Json]) -> int | None:
    """The number of the round that runs now, or of the last one."""
    return max((item["round"] for item in rounds), default=None)


def closed_rounds(job: Json) -> list[int]:
    """The numbers of the rounds whose model can be exported, newest first."""
    return list(range(job["rounds_closed"], 0, -1))


def _metric_names(rounds: Sequence[Json]) -> list[str]:
    return list(dict.fromkeys(name for item in rounds for name in item["metrics"]))


def _round_row(item: Json, metric_names: Sequence[str]) -> dict[str, Any]:
    seconds = item["seconds"]
    return {
        "Round": item["round"],
        "State": item["state"],
        "Clients": f"{item['done']} of {len(item['clients'])}",
        **{words.metric_name(name): item["metrics"].get(name, nan) for name in metric_names},
        "Up (MB)": _mb(item["bytes_up"]),
        "Down (MB)": _mb(item["bytes_down"]),
        "Peak memory (MB)": _mb(item["peak_memory_bytes"] or None),
        "Training (s)": seconds.get("train", nan),
        "Aggregation (s)": seconds.get("aggregate", nan),
        "Evaluation (s)": seconds.get("evaluate", nan),
    }


def _client_row(item: Json, now: datetime) -> dict[str, Any]:
    return {
        "Client": item["client"],
        "Doing": words.doing(item, now),
        "Worker": item.get("worker") or words.NOTHING,
        "Attempt": item["attempt"],
        "Up (MB)": _mb(item["bytes_up"]),
        "Down (MB)": _mb(item["bytes_down"]),
        "Lost (MB)": _mb(item["bytes_lost"]),
        "Peak memory (MB)": _mb(item.get("peak_memory_bytes")),
        "Examples": _number(item.get("num_examples")),
    }


def _late(item: Json) -> dict[str, Any]:
    """Where a client began and is counted, for rounds in which not all are fresh."""
    return {
        "Began with round": item["round"],
        "Counted in round": _number(item.get("counted_in")),
        "Rounds late": _number(item.get("staleness")),
        "Weight": _number(item.get("weight")),
    }


def _mb(size: float | None) -> float:
    return _number(size) / MB


def _number(value: float | None) -> float:
    # not None: a column of nothing but None would not be one of numbers
    return nan if value is None else float(value)


def _clock(text: str) -> str:
    time = words.when(text)
    return "" if time is None else time.astimezone().strftime("%H:%M:%S")
