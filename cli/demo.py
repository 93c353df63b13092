"""`fedkrso demo`: service, job, model and dashboard in one command."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cli.client import ApiClient, Json
from cli.display import display_on
from cli.errors import CliError
from cli.export import export
from cli.service import READY_S, Wanted, serving
from cli.state import AlreadyServed, Home, Server
from cli.watch import follow, require_done

Say = Callable[[str], None]


def demo(
    home: Home, wanted: Wanted, console: Console, keep_serving: bool, rounds: int | None = None
) -> None:
    """Train the example job and export its model; raises if the job does not succeed.

    `rounds`: fewer or more of them than the job has.
    """
    say = speaker(console)
    with started_or_found(home, wanted, say) as (server, is_ours):
        say(f"service {server.url}")
        _train_and_export(home, server, console, say, rounds)
        if keep_serving and is_ours:
            say("still serving; Ctrl-C stops everything")
            threading.Event().wait()


@contextmanager
def started_or_found(home: Home, wanted: Wanted, say: Say) -> Iterator[tuple[Server, bool]]:
    """The service of this state folder, and whether it was started here."""
    home.prepare()
    try:
        with home.lock():
            free = True
    except AlreadyServed:
        free = False
    if not free:
        yield _running(home), False
        return
    say("starting the service")
    with serving(home, wanted, say) as server:
        yield server, True


def speaker(console: Console) -> Say:
    """Prints lines as they are."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def _running(home: Home) -> Server:
    """The service that another process runs, once it is ready."""
    give_up = time.monotonic() + READY_S
    while (server := home.server()) is None:
        if time.monotonic() > give_up:
            raise CliError(f"{home.path} is held by a process that does not serve it")
        time.sleep(0.5)
    return server


def _train_and_export(
    home: Home, server: Server, console: Console, say: Say, rounds: int | None
) -> None:
    from fedkrso_core.spec import EXAMPLE

    with ApiClient(server.url, home.secret("api_key")) as client:
        job = client.submit(EXAMPLE if rounds is None else {**EXAMPLE, "rounds": rounds})
        say(f"job {job['name']} ({job['id']}): {job['rounds']} rounds of {job['method']}")
        page = f"{server.dashboard}/job?job={job['id']}" if server.dashboard else None
        if page:
            say(f"live at {page}")
        require_done(follow(client, job["id"], display_on(console)).job)
        say(f"model {_export(client, job, home.exports / job['id'])}")
        if page:
            say(f"dashboard {page}")


def _export(client: ApiClient, job: Json, out: Path) -> Path:
    export(lambda file: client.save_model(job["id"], None, file), out)
    return out
