"""What a row of the list of jobs says, and what can be done with several of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from dashboard import sparkline, words

Json = Mapping[str, Any]
_CELL = "min-width:54px;line-height:1.25"
_SMALL = "font-size:0.78rem;opacity:0.7"


def under_name(job: Json, now: datetime) -> str:
    """Who started it, where, with what and when."""
    user = job.get("created_by")
    whose = words.whose(job) or (f"by {user}" if user else "")
    created = words.ago(job["created_at"], now)
    return words.plain(words.sentence([whose, job["method"], job["model"], created]))


def progress(job: Json, now: datetime) -> tuple[float, str]:
    """How far the job is, and in words with how long it will still take."""
    share, text = words.progress(job)
    return share, words.sentence([text, words.remaining(job, now)])


def figures(job: Json) -> str:
    """The sparkline and the figures of a job, as HTML."""
    name = words.headline(job)
    cells = {
        name: words.metric(job["metrics"], name),
        "up": words.size(job["bytes_up"]),
        "down": words.size(job["bytes_down"]),
        "peak mem.": words.size(job["peak_memory_bytes"] or None),
    }
    drawn = "".join(_cell(label, value) for label, value in cells.items())
    curve = sparkline.image(job.get("curve") or [], name)
    style = "display:flex;flex-wrap:wrap;align-items:center;gap:2px 10px"
    return f'<div style="{style}">{curve}{drawn}</div>'


def _cell(label: str, value: str) -> str:
    return (
        f'<div style="{_CELL}"><b>{escape(value)}</b><br>'
        f'<span style="{_SMALL}">{escape(label)}</span></div>'
    )


def can(act: str, jobs: Iterable[Json]) -> list[Json]:
    """Those of some jobs that can be cancelled, or deleted."""
    return [job for job in jobs if words.is_live(job) == (act == "cancel")]


def counted(jobs: int) -> str:
    """1 job, 2 jobs."""
    return "1 job" if jobs == 1 else f"{jobs} jobs"


def left_out(act: str, some: int, every: int) -> str:
    """Why an act reaches fewer jobs than are ticked; empty if it reaches them all."""
    if some == every:
        return ""
    why = "have ended already" if act == "cancel" else "have not ended"
    return f"{every - some} of the {every} ticked {why} and stay as they are."
