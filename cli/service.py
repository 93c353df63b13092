"""The embedded service as a context: started and ready inside, gone outside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cli import plan, ports
from cli.errors import CliError
from cli.interrupts import Interrupts
from cli.plan import Layout
from cli.process import Command
from cli.state import Home, Server
from cli.supervisor import Supervisor

READY_S = 120.0
ASK_S = 0.25
DATABASE_S = 60.0
DATABASE_PAUSE_S = 2.0

Say = Callable[[str], None]
Plan = Callable[[Home, Layout, Mapping[str, str]], Sequence[Command]]


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; ports that are taken give way to the next free ones."""

    host: str = "127.0.0.1"
    port: int = 8000
    dashboard_port: int = 8501
    workers: int = 2
    dashboard: bool = True


def migrate(database_url: str) -> None:
    """Bring the database to the newest revision."""
    from api.db.migrate import upgrade

    upgrade(database_url)


def patiently(
    prepare: Callable[[str], None], database_url: str, say: Say, wait_s: float = DATABASE_S
) -> None:
    """Prepare the database; one that does not answer may be starting together with us."""
    from sqlalchemy.exc import OperationalError

    give_up = time.monotonic() + (0.0 if database_url.startswith("sqlite") else wait_s)
    while True:
        try:
            return prepare(database_url)
        except OperationalError as error:
            why = str(error.orig).strip().splitlines()[0]
            if time.monotonic() >= give_up:
                raise CliError(f"the database does not answer: {why}") from error
            say(f"waiting for the database: {why}")
            time.sleep(DATABASE_PAUSE_S)


@contextmanager
def serving(
    home: Home,
    wanted: Wanted,
    say: Say,
    make_plan: Plan = plan.commands,
    prepare_database: Callable[[str], None] = migrate,
) -> Iterator[Server]:
    """Run the service of a state folder; raises AlreadyServed if another process does."""
    home.prepare()
    with home.lock():
        home.remove_server()
        layout = choose_ports(wanted, say)
        supervisor = Supervisor(make_plan(home, layout, os.environ), say)
        with Interrupts(supervisor.hurry) as interrupts:
            try:
                patiently(prepare_database, plan.database_url(home, os.environ), say)
                supervisor.start()
                server = Server(layout.url, _dashboard_url(layout), os.getpid())
                wait_until_ready(server, supervisor)
                home.write_server(server)
                yield server
            finally:
                interrupts.stopping()
                home.remove_server()
                say("stopping (Ctrl-C again: at once)")
                supervisor.stop()


def choose_ports(wanted: Wanted, say: Say) -> Layout:
    """Free ports from the wanted ones on; says so when they are others."""
    port = _free(wanted.host, wanted.port, (), say)
    url = f"http://{ports.reachable(wanted.host)}:{port}"
    layout = Layout(wanted.host, port, url, wanted.workers)
    if not wanted.dashboard:
        return layout
    return replace(layout, dashboard_port=_free(wanted.host, wanted.dashboard_port, (port,), say))


def _free(host: str, wanted: int, avoid: tuple[int, ...], say: Say) -> int:
    port = ports.choose(host, wanted, avoid)
    if wanted not in (0, port):
        say(f"port {wanted} is taken; using {port}")
    return port


def _dashboard_url(layout: Layout) -> str | None:
    if layout.dashboard_port is None:
        return None
    return f"http://{ports.reachable(layout.host)}:{layout.dashboard_port}"


def wait_until_ready(server: Server, supervisor: Supervisor, timeout_s: float = READY_S) -> None:
    """Return when the API and the dashboard answer; raise if one of the children cannot."""
    waiting = [f"{server.url}/readyz"]
    if server.dashboard:
        waiting.append(f"{server.dashboard}/_stcore/health")
    give_up = time.monotonic() + timeout_s
    while waiting := [url for url in waiting if not _answers(url)]:
        _require_starting(supervisor)
        if time.monotonic() > give_up:
            raise CliError(f"no good answer from {waiting[0]} within {timeout_s:.0f} s")
        time.sleep(ASK_S)


def _require_starting(supervisor: Supervisor) -> None:
    child = supervisor.stuck()
    if child is not None:
        name, log = child.command.name, child.command.log
        raise CliError(f"{name} does not start; the end of {log}:", *child.tail())


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=5.0, trust_env=False).is_success
    except httpx.TransportError:
        return False
