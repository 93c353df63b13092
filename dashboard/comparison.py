"""Jobs side by side: the points of their curves, and who is on the Pareto front. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pandas as pd

from dashboard import words
from dashboard.views import MB

Json = Mapping[str, Any]
BEST = "★ Pareto-best"
# of these a low value is a good one
_ERRORS = frozenset({"loss", "perplexity", "mse"})


@dataclass(frozen=True)
class Measure:
    """The metric that jobs are compared by, and which way it goes."""

    name: str
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The metric as a heading."""
        return words.metric_name(self.name)


def measures(series: Sequence[Json]) -> list[Measure]:
    """What the jobs can be compared by: the headlines of their tasks first."""
    ways = {item["headline"]: bool(item["higher_is_better"]) for item in series}
    for item in series:
        for point in item["points"]:
            for name in point["metrics"]:
                if not name.startswith("worst_client"):
                    ways.setdefault(name, name.removeprefix("worst_") not in _ERRORS)
    return [Measure(name, way) for name, way in ways.items()]


def labels(series: Sequence[Json]) -> list[str]:
    """What each job is called in charts: its name, with its id where two have the same."""
    count = Counter(item["name"] for item in series)
    return [
        f"{item['name']} ({item['id'][:6]})" if count[item["name"]] > 1 else item["name"]
        for item in series
    ]


def points_frame(series: Sequence[Json], measure: Measure) -> pd.DataFrame:
    """A row for each measured point: job, round, value, bytes, bytes up and down, seconds."""
    rows = [
        {
            "job": label,
            "round": point["round"],
            "value": point["metrics"][measure.name],
            "bytes": point["bytes_up"] + point["bytes_down"],
            "bytes_up": point["bytes_up"],
            "bytes_down": point["bytes_down"],
            "seconds": point["elapsed_s"],
        }
        for label, item in zip(labels(series), series, strict=True)
        for point in item["points"]
        if measure.name in point["metrics"]
    ]
    columns = ["job", "round", "value", "bytes", "bytes_up", "bytes_down", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def results(series: Sequence[Json], measure: Measure) -> pd.DataFrame:
    """A row for each job: its last value, what it took, and whether it is Pareto-best."""
    rows = [
        _result(label, item, measure) for label, item in zip(labels(series), series, strict=True)
    ]
    best = pareto(
        [(row["value"], row["bytes"], row["memory"]) for row in rows], measure.higher_is_better
    )
    columns = ["id", "job", "method", "state", "value", "rounds", "bytes_up", "bytes_down"]
    columns += ["bytes", "memory", "seconds", "best"]
    frame = pd.DataFrame([row | {"best": b} for row, b in zip(rows, best, strict=True)])
    return frame.reindex(columns=columns)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """What a page shows of `results`: sizes in MB, the Pareto-best first and marked."""
    best = results["best"].fillna(False).astype(bool)
    ordered = results.assign(mark=best.map({True: BEST, False: ""}))
    ordered = ordered.iloc[(~best).to_numpy().argsort(kind="stable")]
    return pd.DataFrame(
        {
            "Job": ordered["job"],
            "": ordered["mark"],
            "value": ordered["value"],
            "Method": ordered["method"],
            "State": ordered["state"],
            "Rounds": ordered["rounds"],
            "Up (MB)": ordered["bytes_up"] / MB,
            "Down (MB)": ordered["bytes_down"] / MB,
            "Peak memory (MB)": ordered["memory"] / MB,
            "Time (s)": ordered["seconds"],
        }
    )


def pareto(results: Sequence[tuple[float, float, float]], higher_is_better: bool) -> list[bool]:
    """Which of (value, bytes, memory) no other beats: as good in all three, better in one.

    What was not measured (nan) is not on the front, and beats nobody.
    """
    costs = [
        (-value if higher_is_better else value, size, memory) for value, size, memory in results
    ]
    return [
        not any(part != part for part in own) and not any(_beats(one, own) for one in costs)
        for own in costs
    ]


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _result(label: str, item: Json, measure: Measure) -> dict[str, Any]:
    points = item["points"]
    last = points[-1] if points else {}
    up, down = last.get("bytes_up", nan), last.get("bytes_down", nan)
    values = [p["metrics"][measure.name] for p in points if measure.name in p["metrics"]]
    return {
        "id": item["id"],
        "job": label,
        "method": item["method"],
        "state": item["state"],
        "value": values[-1] if values else nan,
        "rounds": item["rounds_closed"],
        "bytes_up": up,
        "bytes_down": down,
        "bytes": up + down,
        "memory": max((p["peak_memory_bytes"] for p in points), default=0) or nan,
        "seconds": last.get("elapsed_s", nan),
    }


def csv(frame: pd.DataFrame, measure: Measure) -> bytes:
    """A frame as a CSV file; the column of values has the metric's name."""
    return frame.rename(columns={"value": measure.name}).to_csv(index=False).encode()


def verdict(frame: pd.DataFrame, measure: Measure) -> str:
    """The front in words, as markdown. `frame` is `results`."""
    best = frame[frame["best"].fillna(False).astype(bool)]
    if best.empty:
        return f"No job has measured {words.plain(measure.name)} and memory yet."
    sign = -1.0 if measure.higher_is_better else 1.0
    ordered = best.assign(order=(sign * best["value"]).fillna(inf)).sort_values("order")
    named = [f"**{words.plain(row['job'])}** ({_what(row)})" for _, row in ordered.iterrows()]
    return f"Pareto-best by {words.plain(measure.name)}, bytes and memory: {'; '.join(named)}."


def _what(row: Any) -> str:
    parts = [f"{row['value']:.3f}", words.size(row["bytes"]), words.size(row["memory"])]
    return words.plain(", ".join(parts))
