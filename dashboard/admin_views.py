"""Keys, users, projects, the audit log and the service's condition as frames. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from dashboard import words

Json = Mapping[str, Any]


def keys_table(keys: Sequence[Json]) -> pd.DataFrame:
    """A row for each key."""
    rows = [
        {
            "Key": item["id"],
            "State": item["state"],
            "Role": item["role"],
            "Whose": item.get("user") or item.get("client") or words.NOTHING,
            "Label": item["label"],
            "Made": words.when(item["created_at"]),
            "Last used": words.when(item.get("last_used_at")),
            "Valid until": words.when(item.get("expires_at")),
        }
        for item in keys
    ]
    return pd.DataFrame(rows)


def key_name(key: Json) -> str:
    """A key in a list to choose from."""
    whose = key.get("user") or key.get("client") or key["role"]
    return words.sentence([key["id"], whose, key["label"]])


def users_table(users: Sequence[Json]) -> pd.DataFrame:
    """A row for each user."""
    rows = [
        {
            "User": item["name"],
            "Role": item["role"],
            "State": "disabled" if item["disabled"] else "enabled",
            "Projects": "all" if item["projects"] is None else ", ".join(item["projects"]),
        }
        for item in users
    ]
    return pd.DataFrame(rows)


def projects_table(projects: Sequence[Json]) -> pd.DataFrame:
    """A row for each project."""
    rows = [
        {
            "Project": item["name"],
            "Members": ", ".join(item["members"]) or words.NOTHING,
            "Open jobs": item["open_jobs"],
            "At most": item["max_open_jobs"],
        }
        for item in projects
    ]
    return pd.DataFrame(rows)


def audit_table(lines: Sequence[Json]) -> pd.DataFrame:
    """A row for each line of the log."""
    rows = [
        {
            "When": words.when(item["at"]),
            "Who": item.get("user") or item.get("role") or words.NOTHING,
            "What": item["action"],
            "On": item.get("target") or words.NOTHING,
            "Outcome": item["outcome"],
            "Project": item.get("project") or words.NOTHING,
            "Detail": item.get("detail") or "",
            "From": item.get("address") or words.NOTHING,
        }
        for item in lines
    ]
    return pd.DataFrame(rows)


def workers_table(workers: Sequence[Json], now: datetime) -> pd.DataFrame:
    """A row for each worker of the last hour."""
    rows = [
        {
            "Worker": item["name"],
            "Doing": "trains" if item["busy"] else "waits",
            "Heard": words.ago(item["heard_at"], now),
        }
        for item in workers
    ]
    return pd.DataFrame(rows)


def backlog(service: Json) -> str:
    """What waits in the queue, and how many jobs there are of each state."""
    queues = ", ".join(f"{count} for {name}" for name, count in service["queues"].items())
    jobs = ", ".join(f"{count} {state}" for state, count in service["jobs"].items() if count)
    return (
        f"Hints in the queue: {queues or 'unknown, the broker does not answer'}. "
        f"Jobs: {jobs or 'none'}."
    )
