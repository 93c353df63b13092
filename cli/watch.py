"""Following a job on a server until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.client import ApiClient, Json, ServerAway
from cli.display import Display
from cli.errors import CliError
from cli.render import METRIC, Board, stopped_line
from cli.waiting import waiting_lines

POLL_S = 0.7
PATIENCE_S = 120.0
_ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Snapshot:
    """A job with its rounds, and the clients of the round that is open."""

    job: Json
    rounds: list[Json]
    clients: list[Json]


def follow(
    client: ApiClient,
    job: str,
    display: Display,
    poll_s: float = POLL_S,
    patience_s: float = PATIENCE_S,
) -> Snapshot:
    """Show the job until it ends; a server that is away for `patience_s` is waited for."""
    with display:
        while True:
            now = _patiently(lambda: snapshot(client, job), display, poll_s, patience_s)
            display.show(board_of(now))
            if now.job["state"] in _ENDED:
                return now
            time.sleep(poll_s)


def snapshot(client: ApiClient, job: str) -> Snapshot:
    """Ask for a job; the job before its rounds, so that an ended job has all of them."""
    found = client.job(job)
    rounds = client.rounds(job)
    current = _open_round(rounds)
    return Snapshot(found, rounds, client.clients(job, current["round"]) if current else [])


def board_of(now: Snapshot) -> Board:
    """What is shown of a snapshot."""
    current = _open_round(now.rounds)
    return Board(
        name=now.job["name"],
        state=now.job["state"],
        rounds=now.job["rounds"],
        closed=[round_ for round_ in now.rounds if round_["state"] == "closed"],
        open_round=current["round"] if current else None,
        clients=len(now.clients),
        clients_done=sum(client["state"] == "done" for client in now.clients),
        steps=sum(client["steps"] for client in now.clients),
        steps_done=sum(map(_steps_done, now.clients)),
        note=_note(now.job),
        metric=now.job.get("headline", METRIC),
    )


def _note(job: Json) -> str:
    """What the job waits for, a line for each thing."""
    waits = job.get("waiting") or []
    return "\n".join(waiting_lines(waits, datetime.now(UTC))) or job.get("waiting_for") or ""


def require_done(job: Json) -> None:
    """Raise with the reason if the job ended in any other way."""
    if job["state"] != "done":
        reason = f": {job['reason']}" if job.get("reason") else ""
        raise CliError(f"job {job['name']} ({job['id']}) {job['state']}{reason}")


def early_end(job: Json) -> str | None:
    """A line for a job that its budget ended before its last round; None for any other."""
    if job["state"] != "done" or not job.get("reason"):
        return None
    return stopped_line(job["rounds_closed"], job["rounds"], job["reason"])


def _steps_done(client: Json) -> int:
    return int(client["steps"] if client["state"] == "done" else client["step"])


def _open_round(rounds: list[Json]) -> Json | None:
    is_open = [round_ for round_ in rounds if round_["state"] in ("collecting", "aggregating")]
    return is_open[-1] if is_open else None


def _patiently(
    ask: Callable[[], Snapshot], display: Display, poll_s: float, patience_s: float
) -> Snapshot:
    give_up = None
    while True:
        try:
            return ask()
        except ServerAway as away:
            if give_up is None:
                give_up = time.monotonic() + patience_s
                display.say(f"{away}; asking again for {patience_s:.0f} s")
            if time.monotonic() >= give_up:
                raise
            time.sleep(poll_s)
