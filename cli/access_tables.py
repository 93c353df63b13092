"""Users, projects, keys and the audit log as tables; nothing here reads, waits or prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.render import NONE

Json = dict[str, Any]
_STYLES = {"revoked": "red", "quarantined": "red", "expired": "yellow", "disabled": "red"}


def keys_table(keys: Sequence[Json]) -> Table:
    """A row for each key."""
    table = _table("id", "role", "user", "label", "state", "created", "last used", "expires")
    for key in keys:
        times = (_day(key[name]) for name in ("created_at", "last_used_at", "expires_at"))
        state = Text(key["state"], style=_STYLES.get(key["state"], ""))
        owner, label = Text(key["user"] or NONE), Text(key["label"])
        table.add_row(key["id"], key["role"], owner, label, state, *times)
    return table


def users_table(users: Sequence[Json]) -> Table:
    """A row for each user."""
    table = _table("name", "role", "state", "projects")
    for user in users:
        state = "disabled" if user["disabled"] else "enabled"
        seen = "all" if user["projects"] is None else ", ".join(user["projects"]) or NONE
        style = _STYLES.get(state, "")
        table.add_row(Text(user["name"]), user["role"], Text(state, style=style), Text(seen))
    return table


def projects_table(projects: Sequence[Json]) -> Table:
    """A row for each project."""
    table = _table("name", "open jobs", "at most", "members")
    for project in projects:
        members = Text(", ".join(project["members"]) or NONE)
        counts = (str(project["open_jobs"]), str(project["max_open_jobs"]))
        table.add_row(Text(project["name"]), *counts, members)
    return table


def invitations_table(invitations: Sequence[Json]) -> Table:
    """A row for each invitation."""
    table = _table("id", "project", "labels", "state", "by", "created", "expires", "client")
    for row in invitations:
        times = (_day(row[name]) for name in ("created_at", "expires_at"))
        state = Text(row["state"], style=_STYLES.get(row["state"], ""))
        by, who = Text(row["created_by"] or NONE), row["client"] or NONE
        table.add_row(row["id"], row["project"], _labels(row), state, by, *times, who)
    return table


def externals_table(clients: Sequence[Json]) -> Table:
    """A row for each external client."""
    table = _table("id", "name", "project", "labels", "state", "offences", "device", "threads",
                   "free memory", "version", "last heard of")  # fmt: skip
    for row in clients:
        hardware = row["hardware"]
        memory = hardware["free_memory_bytes"]
        table.add_row(
            row["id"],
            Text(row["name"]),
            row["project"],
            _labels(row),
            Text(row["state"], style=_STYLES.get(row["state"], "")),
            str(row["offences"]),
            Text(hardware["device"] or NONE),
            str(hardware["threads"] or NONE),
            NONE if memory is None else f"{memory / 2**30:.1f} GiB",
            Text(row["version"] or NONE),
            _second(row["heartbeat_at"]) if row["heartbeat_at"] else NONE,
        )
    return table


def joined_table(found: Json) -> Table:
    """A row for each external client of a job, then for each that refuses."""
    table = _table("client", "name", "rows", "state", "last heard of")
    for row in found["items"]:
        state = row["status"] or ("takes part" if row["present"] else "is out")
        heard = _second(row["heartbeat_at"]) if row["heartbeat_at"] else NONE
        table.add_row(
            str(row["client"]), Text(row["name"]), str(row["num_examples"]), Text(state), heard
        )
    for row in found["refusals"]:
        said = Text(f"refuses: {row['reason']}", style="yellow")
        table.add_row(NONE, Text(row["name"]), NONE, said, _second(row["at"]))
    return table


def _labels(row: Json) -> Text:
    return Text(" ".join(f"{name}={value}" for name, value in row["labels"].items()) or NONE)


def audit_table(lines: Sequence[Json]) -> Table:
    """A row for each line of the log."""
    table = _table("at", "user", "action", "target", "project", "outcome", "detail", "from")
    for line in lines:
        style = "" if line["outcome"] == "ok" else "red"
        names = (Text(line[name] or NONE) for name in ("target", "project"))
        table.add_row(
            _second(line["at"]),
            Text(line["user"] or line["role"] or NONE),
            line["action"],
            *names,
            Text(line["outcome"], style=style),
            Text(line["detail"] or ""),
            Text(line["address"] or NONE),
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _day(moment: str | None) -> str:
    return moment[:10] if moment else NONE


def _second(moment: str) -> str:
    return moment[:19].replace("T", " ")
