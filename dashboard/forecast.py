"""A forecast of the API as figures, frames and sentences. Pure, and free of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import pandas as pd

from dashboard import words
from dashboard.views import MB

Json = Mapping[str, Any]

EXPECTED = "buffered rounds: bytes are expected, not exact"
COMPRESSED = "bytes up are those before compression"
# the parts of a client's memory that add up to its peak
PARTS = ("weights", "gradients", "optimizer", "activations")
# what every method is compared with, and what they are known as
YARDSTICKS = {"fedavg": "fedavg (full)", "fedit": "fedit (LoRA)"}
# what of a forecast each limit of the budget is about
_LIMITED = {
    "bytes_up": ("traffic", "bytes_up"),
    "memory": ("memory", "process"),
    "seconds": ("pace", "seconds"),
}


def able(answer: Json) -> list[Json]:
    """The forecasts of the methods that can run the job, the job's own first."""
    return [item for item in answer["forecasts"] if not item.get("refused")]


def refusals(answer: Json) -> list[str]:
    """Which of the other methods cannot run the job and why, as markdown."""
    return [
        f"**{words.plain(item['method'])}** cannot run this job: {words.plain(item['refused'])}"
        for item in answer["forecasts"]
        if item.get("refused")
    ]


def tiles(own: Json) -> dict[str, str]:
    """The figures of a client in a round by their labels."""
    traffic, memory, pace = _parts(own)
    return {
        "Up": words.size(traffic.get("bytes_up_per_client")),
        "Down": words.size(traffic.get("bytes_down_per_client")),
        "Peak memory": words.size(memory.get("peak")),
        "Training": words.seconds(pace.get("seconds_per_round")),
    }


def whole_job(own: Json) -> str:
    """What all rounds and clients take together, as a sentence."""
    traffic, memory, pace = _parts(own)
    return words.sentence(
        [
            f"The job: {words.size(traffic.get('bytes_up'))} up",
            f"{words.size(traffic.get('bytes_down'))} down",
            f"{words.seconds(pace.get('seconds'))} of training",
            f"a client's process {words.size(memory.get('process'))}",
            "" if traffic.get("exact", True) else EXPECTED,
            COMPRESSED if traffic.get("compressed") else "",
        ]
    )


def memory_frame(forecasts: Sequence[Json]) -> pd.DataFrame:
    """A row for each method and part of its peak memory: method, part, order, bytes."""
    rows = [
        {"method": item["method"], "part": part, "order": order, "bytes": item["memory"][part]}
        for item in forecasts
        if item.get("memory")
        for order, part in enumerate(PARTS)
    ]
    return pd.DataFrame(rows, columns=["method", "part", "order", "bytes"])


def comparison(forecasts: Sequence[Json]) -> pd.DataFrame:
    """A row for each method, of a client's figures in a round."""
    return pd.DataFrame([_row(item) for item in forecasts])


def _row(item: Json) -> dict[str, Any]:
    traffic, memory, pace = _parts(item)
    return {
        "Method": YARDSTICKS.get(item["method"], item["method"]),
        "Up (MB)": traffic.get("bytes_up_per_client", nan) / MB,
        "Down (MB)": traffic.get("bytes_down_per_client", nan) / MB,
        "Peak (MB)": memory.get("peak", nan) / MB,
        "Job (MB)": (traffic.get("bytes_up", nan) + traffic.get("bytes_down", nan)) / MB,
        "Training (s)": pace.get("seconds_per_round", nan),
    }


def _parts(item: Json) -> tuple[Json, Json, Json]:
    """Traffic, memory and pace of a forecast, empty where they are not known."""
    return item.get("traffic") or {}, item.get("memory") or {}, item.get("pace") or {}


def precisions(own: Json, chosen: str | None) -> list[str]:
    """What the other settings of local.precision would change for a method, as markdown."""
    settings: Mapping[str, float] = (own.get("pace") or {}).get("precision", {})
    now = settings.get(chosen or "")
    if not now:
        return []
    others = [(name, seconds) for name, seconds in settings.items() if name != chosen]
    return [
        f"`{name}`: {_change(seconds / now)}, {words.seconds(seconds)} for a step"
        for name, seconds in others
    ]


def _change(ratio: float) -> str:
    percent = round(100 * (ratio - 1))
    if percent == 0:
        return "as long"
    return f"saves {-percent} % of the time" if percent < 0 else f"takes {percent} % longer"


def fits(answer: Json, budget: Json, labels: Mapping[str, str]) -> list[str]:
    """For each limit of a form's budget whether the job's own method fits, as markdown."""
    own = answer["forecasts"][0]
    over = {item["field"]: item["message"] for item in answer["over_budget"].get(own["method"], ())}
    lines = []
    for name, limit in budget.items():
        part, figure = _LIMITED[name]
        label = words.plain(labels.get(f"budget.{name}", name))
        needs = (own.get(part) or {}).get(figure)
        if message := over.get(f"budget.{name}"):
            lines.append(f":red[**{label}** does not fit: {words.plain(message)}]")
        elif needs is not None:
            shown = words.seconds(needs) if part == "pace" else words.size(needs)
            lines.append(f":green[**{label}** fits: {shown} of {words.plain(limit)}]")
    return lines


def too_small(own: Json, clients: Sequence[Json]) -> str:
    """Which registered clients have less free memory than the job takes; empty if none has."""
    needed = (own.get("memory") or {}).get("process")
    if needed is None:
        return ""
    free = {
        client["name"]: (client.get("hardware") or {}).get("free_memory_bytes")
        for client in clients
        if client["state"] == "active"
    }
    small = {name: size for name, size in free.items() if size is not None and size < needed}
    if not small:
        return ""
    named = ", ".join(f"{name} ({words.size(size)})" for name, size in list(small.items())[:5])
    return (
        f"{len(small)} of {words.count(len(free), 'registered client')} had less memory free than "
        f"the {words.size(needed)} that a client takes: {named}"
    )


def too_large(answer: Json) -> list[str]:
    """Which of the other methods do not fit into the budget, as markdown."""
    return [
        f"**{words.plain(item['method'])}** does not fit into the budget"
        for item in answer["forecasts"][1:]
        if answer["over_budget"].get(item["method"])
    ]
