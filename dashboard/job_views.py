"""The API's curves of a job and its rounds' clients to frames and sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard import words

Json = Mapping[str, Any]
# where the time of a round goes: name in the API, and in words
TIMES = {
    "train": "training",
    "transfer": "transfer",
    "wait": "waiting",
    "aggregate": "aggregation",
}


def series_frame(points: Sequence[Json], headline: str = "accuracy") -> pd.DataFrame:
    """One row for each point of a curve: metrics, sums of bytes, memory, and mean seconds.

    `headline` is the metric of the job's task. A point stands for the rounds after `before` up to
    and with `round`.
    """
    names = ["round", "bytes_up", "bytes_down", "peak_memory_bytes"]
    metrics = list(dict.fromkeys([headline, "loss"]))
    rows = [
        {name: item[name] for name in names}
        | {name: item["metrics"].get(name) for name in metrics}
        | {name: item["seconds"].get(name, 0.0) for name in TIMES}
        for item in points
    ]
    # numbers even without a row, and where nothing was measured
    frame = pd.DataFrame(rows, columns=[*names, *metrics, *TIMES]).astype("float64")
    return frame.assign(before=frame["round"].shift(1, fill_value=0))


def time_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Of series_frame: a row for each point and part of its time, with where its bar stands."""
    tops = frame[list(TIMES)].cumsum(axis="columns")
    parts = [
        pd.DataFrame(
            {
                "round": frame["round"],
                "left": frame["before"] + 0.5,
                "right": frame["round"] + 0.5,
                "part": words_of,
                "seconds": frame[name],
                "bottom": tops[name] - frame[name],
                "top": tops[name],
            }
        )
        for name, words_of in TIMES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def extremes(clients: Sequence[Json]) -> list[str]:
    """Who stands out in a round: worst measured, slowest, with the most memory."""
    return [line for line in (_worst(clients), _slowest(clients), _hungriest(clients)) if line]


def _worst(clients: Sequence[Json]) -> str:
    """By the client's own hold-out where there is one, else by its loss in training."""
    losses = [
        (float(value), item["client"], "on its own hold-out" if held else "in training")
        for item in clients
        for held in [item.get("holdout") or {}]
        if (value := held.get("loss", item["metrics"].get("loss"))) is not None
    ]
    if len(losses) < 2:
        return ""
    loss, client, where = max(losses)
    return f"Highest loss {where}: client {client} with {loss:.3f}"


def _slowest(clients: Sequence[Json]) -> str:
    took = [
        ((done - leased).total_seconds(), item["client"])
        for item in clients
        if (done := words.when(item.get("done_at")))
        and (leased := words.when(item.get("leased_at")))
    ]
    if len(took) < 2:
        return ""
    longest, client = max(took)
    return f"Slowest: client {client} with {words.seconds(longest)}"


def _hungriest(clients: Sequence[Json]) -> str:
    peaks = [(item.get("peak_memory_bytes") or 0, item["client"]) for item in clients]
    if sum(peak > 0 for peak, _ in peaks) < 2:
        return ""
    peak, client = max(peaks)
    return f"Most memory: client {client} with {words.size(peak)}"
