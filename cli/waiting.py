"""What a job waits for, in lines; nothing here reads, waits or prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

Json = dict[str, Any]
_SHOWN = 4


def waiting_lines(waits: Sequence[Json], now: datetime) -> list[str]:
    """A line for each thing, with for how long and for how much longer; the first few."""
    lines = [_line(wait, now) for wait in waits[:_SHOWN]]
    if more := len(waits) - len(lines):
        lines.append(f"and {more} more")
    return lines


def _line(wait: Json, now: datetime) -> str:
    since, until = _moment(wait.get("since")), _moment(wait.get("until"))
    parts = [f"for {_span((now - since).total_seconds())}"] if since else []
    if until:
        left_s = (until - now).total_seconds()
        parts.append(f"{_span(left_s)} left" if left_s >= 0 else f"{_span(-left_s)} overdue")
    return f"{wait['what']} ({', '.join(parts)})" if parts else str(wait["what"])


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
