"""External clients and invitations in words and frames. Pure, and free of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from dashboard import words

Json = Mapping[str, Any]
# a client that waits for work asks for it much more often
SILENT_S = 300.0
STANDINGS = ("training", "ready", "away", "silent", "new", "quarantined", "revoked")


def standing(client: Json, now: datetime) -> str:
    """How it is about a client in a word, one of STANDINGS."""
    if client["state"] != "active":
        return str(client["state"])
    heard = words.when(client.get("heartbeat_at"))
    if heard is None:
        return "new"
    if (now - heard).total_seconds() > SILENT_S:
        return "silent"
    if client["work"]:
        return "training"
    return "away" if client.get("status") else "ready"


def doing(client: Json, now: datetime) -> str:
    """The same as a sentence, with what it works on or why it does not."""
    match standing(client, now):
        case "revoked":
            return "Its keys are refused"
        case "quarantined":
            return f"In quarantine since {words.ago(client['quarantined_at'], now)}"
        case "new":
            return "Enrolled; it has not started yet"
        case "away":
            return f"Takes no work: {client['status']}"
        case "ready":
            return "Waits for work"
        case "silent":
            busy = f", while it had {_work(client)}" if client["work"] else ""
            return f"Not heard of for {_silence(client, now)}{busy}"
        case _:
            return f"Trains {_work(client)}"


def _work(client: Json) -> str:
    return "; ".join(
        f"round {item['round']} of {item['name']} (step {item['step']} of {item['steps']})"
        for item in client["work"]
    )


def _silence(client: Json, now: datetime) -> str:
    return words.ago(client["heartbeat_at"], now).removesuffix(" ago")


def heard(client: Json, now: datetime) -> str:
    """When it was last heard of."""
    at = client.get("heartbeat_at")
    return f"heard {words.ago(at, now)}" if at else "never heard of"


def hardware(client: Json) -> str:
    """What it trains on, as it says."""
    found = client["hardware"]
    threads, free = found.get("threads"), found.get("free_memory_bytes")
    return words.sentence(
        [
            found.get("device") or "",
            words.count(threads, "thread") if threads else "",
            f"{words.size(free)} free" if free is not None else "",
        ]
    )


def version(client: Json) -> str:
    """Which version of the client it runs."""
    return f"version {client['version']}" if client.get("version") else ""


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as they are typed: site=eu, tier=1."""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def labels_of(text: str) -> dict[str, str]:
    """The labels of such a text; ValueError that says what is allowed."""
    found: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise ValueError(f"{word}: allowed are labels like site=eu, separated by commas")
        found[name] = value
    return found


def offences(client: Json) -> str:
    """Why it is in quarantine, or what it was refused for so far; empty if for nothing."""
    number = int(client["offences"])
    if not number:
        return ""
    times = "once" if number == 1 else f"{number} times"
    return f"Refused {times}; last for {client['offence']}"


def matching(clients: Sequence[Json], text: str, wanted: str | None, now: datetime) -> list[Json]:
    """Those whose name, project, id or labels have the text, of one standing if one is wanted."""
    needle = text.strip().lower()
    return [
        client
        for client in clients
        if (wanted is None or standing(client, now) == wanted) and needle in _haystack(client)
    ]


def _haystack(client: Json) -> str:
    parts = (client["name"], client["project"], client["id"], labels_text(client["labels"]))
    return " ".join(parts).lower()


def summary(clients: Sequence[Json], now: datetime) -> str:
    """How many clients there are of each standing."""
    found = [standing(client, now) for client in clients]
    parts = (f"{found.count(name)} {name}" for name in STANDINGS if name in found)
    return f"{words.count(len(clients), 'client')}: {', '.join(parts)}"


def invitations_table(invitations: Sequence[Json], clients: Sequence[Json]) -> pd.DataFrame:
    """A row for each invitation; who enrolled is named where it is known."""
    names = {client["id"]: client["name"] for client in clients}
    rows = [
        {
            "Invitation": item["id"],
            "State": item["state"],
            "Project": item["project"],
            "Labels": labels_text(item["labels"]),
            "Made by": item.get("created_by") or words.NOTHING,
            "Made": words.when(item["created_at"]),
            "Valid until": words.when(item["expires_at"]),
            "Client": names.get(item.get("client") or "", item.get("client") or words.NOTHING),
        }
        for item in invitations
    ]
    return pd.DataFrame(rows)


def enrol_command(server: str) -> str:
    """What the data owner runs; it asks for the token, which then is in no shell's history."""
    return f"fedkrso client enrol --server {server} --name NAME"
