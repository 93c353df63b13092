"""Numbers, times and states in words. Pure; markdown of others is made harmless here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]

LIVE = ("queued", "running", "paused")
ENDED = {"done", "failed", "cancelled"}
NOTHING = "—"
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_AGES = ((86_400, "d"), (3600, "h"), (60, "min"))


def plain(text: object) -> str:
    """Text that markdown shows as it is: no links, images, icons or formulas of others."""
    escaped = re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~:$&])", r"\\\1", " ".join(str(text).split()))
    # Streamlit looks for icons and emoji after the escapes are gone: part them invisibly
    return re.sub(r"(\\:)(?=[0-9]*[A-Za-z_][\w+/\\-]*:)", "\\1\u200b", escaped)


def unit(largest: float) -> tuple[float, str]:
    """The unit (size in bytes, name) in which a quantity of that many bytes reads best."""
    return next((known for known in _UNITS if largest >= known[0]), (1.0, "B"))


def size(number: float | None) -> str:
    """Bytes in words: 3.2 MB (10^6 bytes)."""
    if number is None:
        return NOTHING
    scale, name = unit(number)
    if name == "B":
        return f"{number:.0f} B"
    shown = number / scale
    return f"{shown:.0f} {name}" if shown >= 100 else f"{shown:.1f} {name}"


def metric_name(name: str) -> str:
    """A metric as a heading: worst_client is Worst client."""
    return name.replace("_", " ").capitalize()


def worst(metrics: Mapping[str, float]) -> dict[str, str]:
    """Where models are personal: which client's is the worst, with its own figure."""
    for name, value in metrics.items():
        if name.startswith("worst_") and name != "worst_client":
            return {"Worst client": f"{metrics['worst_client']:.0f}: {value:.3f}"}
    return {}


def metric(metrics: Mapping[str, float], name: str) -> str:
    """A metric with three decimals, or a dash before the first evaluation."""
    value = metrics.get(name)
    return NOTHING if value is None else f"{value:.3f}"


def headline(job: Json) -> str:
    """The metric that says how well the job's task goes."""
    return str(job.get("headline") or "accuracy")


def when(text: str | None) -> datetime | None:
    """The time of an ISO 8601 text; without a zone it is UTC."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def duration(seconds: float) -> str:
    """Seconds in words, short: 42s, 3m 05s, 2h 04m."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def seconds(number: float | None) -> str:
    """Seconds in words where parts of one count: 0.12s, 7.3s, then as `duration`."""
    if number is None:
        return NOTHING
    return f"{number:.2g}s" if number < 10 else duration(number)


def ago(text: str | None, now: datetime) -> str:
    """How long ago that was: 3 min ago."""
    time = when(text)
    if time is None:
        return NOTHING
    passed = max(0.0, (now - time).total_seconds())
    scale, name = next((known for known in _AGES if passed >= known[0]), (1, "s"))
    return f"{int(passed // scale)} {name} ago"


def elapsed(job: Json, now: datetime) -> str:
    """How long a job has run; a dash before it starts."""
    start, end = when(job.get("started_at")), when(job.get("finished_at"))
    return NOTHING if start is None else duration(((end or now) - start).total_seconds())


def is_live(job: Json) -> bool:
    """Whether the job may still change."""
    return job["state"] in LIVE


def progress(job: Json) -> tuple[float, str]:
    """How far a job is: the closed part of its rounds, and in words 'round 4 of 6'.

    A job that its budget ended has 'stopped' after them; `stopped` says why.
    """
    total, closed = max(1, job["rounds"]), job["rounds_closed"]
    share = min(1.0, closed / total)
    if job["state"] == "running" and closed < total:
        return share, f"round {closed + 1} of {total}"
    return share, f"{closed} of {total} rounds" + (", stopped" if stopped(job) else "")


def remaining(job: Json, now: datetime) -> str:
    """How long a running job will still take at its pace so far; empty while that is not known."""
    end = when(job.get("eta"))
    if end is None or job["state"] != "running":
        return ""
    left_s = (end - now).total_seconds()
    return f"about {duration(left_s)} left" if left_s >= 1 else "ends soon"


def stopped(job: Json) -> str:
    """Why a job that is done has not trained all its rounds; empty for any other."""
    reason = str(job.get("reason") or "")
    return f"Stopped: {reason}" if job["state"] == "done" and reason else ""


def waiting(job: Json) -> str:
    """What a live job waits for, as a sentence; empty if it does not wait."""
    reason = str(job.get("waiting_for") or "")
    if not reason or not is_live(job):
        return ""
    return reason if reason.lower().startswith("waiting") else f"Waiting for {reason}"


def waits(job: Json, now: datetime, most: int = 20) -> list[str]:
    """Each thing that a live job waits for, with for how long and for how much longer."""
    every = job.get("waiting") or []
    more = [f"{len(every) - most} more"] if len(every) > most else []
    return [*(_wait(wait, now) for wait in every[:most]), *more]


def advice(job: Json) -> str:
    """What can be done about a job that failed."""
    closed = job["rounds_closed"]
    if not closed:
        return "No round was closed. Mend the reason, then retry it, or clone it with changes."
    kept = count(closed, "closed round")
    return f"Its {kept} with their models are kept. Mend the reason, then retry: it goes on there."


def _wait(wait: Json, now: datetime) -> str:
    since, until = when(wait.get("since")), when(wait.get("until"))
    parts = [f"for {duration((now - since).total_seconds())}"] if since else []
    if until:
        late_s = (now - until).total_seconds()
        parts.append(f"{duration(late_s)} overdue" if late_s > 0 else f"{duration(-late_s)} left")
    return f"{wait['what']} ({', '.join(parts)})" if parts else str(wait["what"])


def doing(client: Json, now: datetime) -> str:
    """What a client of a round is doing, in words."""
    match client["state"]:
        case "pending":
            return "waiting for a worker" + (", will be tried again" if client["attempt"] else "")
        case "leased":
            return f"{at_work(client)}, heard {ago(client.get('heartbeat_at'), now)}"
        case "done":
            return "done, update accepted"
        case "failed":
            return f"failed: {client.get('error') or 'no reason given'}"
        case other:
            return f"{other}: {client['error']}" if client.get("error") else str(other)


def at_work(client: Json) -> str:
    """Downloading, training or uploading, as its last heartbeat said."""
    step, steps = client["step"], client["steps"]
    if step == 0:
        return "downloading"
    return "uploading" if step >= steps else f"training, step {step} of {steps}"


def count(number: int, noun: str) -> str:
    """1 client, 2 clients."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def whose(job: Mapping[str, Any]) -> str:
    """Project and submitter of a job; nothing where one admin uses one project."""
    project, user = job.get("project") or "default", job.get("created_by") or "admin"
    return "" if (project, user) == ("default", "admin") else f"{project}, by {user}"


def sentence(parts: Iterable[str]) -> str:
    """The parts that are not empty, joined by middle dots."""
    return " · ".join(part for part in parts if part)
