"""Which processes make up the embedded service, and what each may know."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from cli.errors import CliError
from cli.process import Command
from cli.state import Home

# what it says before the service sets up logging is of no use to anybody
_UVICORN = ("--no-access-log", "--log-level", "warning")
_CELERY = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "warning")
# only the API and its coordinator open the database and the blobs, and store keys
_PRIVATE = (
    "FEDKRSO_API_KEY",
    "FEDKRSO_BOOTSTRAP_API_KEY",
    "FEDKRSO_BOOTSTRAP_WORKER_KEY",
    "FEDKRSO_DATABASE_URL",
    "FEDKRSO_METRICS_KEY",
)
_STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Layout:
    """Where the service listens and how many workers it has."""

    host: str
    port: int
    url: str
    workers: int
    dashboard_port: int | None = None


def database_url(home: Home, environ: Mapping[str, str]) -> str:
    """The database that FEDKRSO_DATABASE_URL names, else the one in the state folder."""
    return environ.get("FEDKRSO_DATABASE_URL") or home.database_url


def commands(home: Home, layout: Layout, environ: Mapping[str, str]) -> list[Command]:
    """The processes in the order they are started."""
    all_of_them = [
        _api(home, layout, environ),
        _coordinator(home, layout, environ),
        *(_worker(home, layout, environ, number) for number in range(1, layout.workers + 1)),
    ]
    if layout.dashboard_port is not None:
        all_of_them.append(_dashboard(home, layout, environ, layout.dashboard_port))
    return all_of_them


def _api(home: Home, layout: Layout, environ: Mapping[str, str]) -> Command:
    # streams of events are open as long as a browser looks at them; clients that poll keep their
    # connection, which must not be closed just when the next request comes
    listen = ("--host", layout.host, "--port", str(layout.port))
    limits = ("--timeout-graceful-shutdown", "3", "--timeout-keep-alive", "75")
    keys = {
        "FEDKRSO_DATABASE_URL": database_url(home, environ),
        "FEDKRSO_BOOTSTRAP_API_KEY": home.secret("api_key"),
        "FEDKRSO_BOOTSTRAP_WORKER_KEY": home.secret("worker_key"),
        "FEDKRSO_METRICS_KEY": environ.get("FEDKRSO_METRICS_KEY") or home.secret("metrics_key"),
        **_store_keys(environ),
    }
    return Command(
        name="api",
        arguments=_module("uvicorn", "api.main:app", *listen, *limits, *_UVICORN),
        environ=_environ(home, layout, environ) | keys,
        log=home.logs / "api.log",
        folder=home.path,
        stage=3,
        preload=True,
    )


def _coordinator(home: Home, layout: Layout, environ: Mapping[str, str]) -> Command:
    keys = {"FEDKRSO_DATABASE_URL": database_url(home, environ), **_store_keys(environ)}
    return Command(
        name="coordinator",
        arguments=_celery("api.coordinator.app:app", "coordinator"),
        environ=_environ(home, layout, environ) | keys,
        log=home.logs / "coordinator.log",
        folder=home.path,
        stage=1,
        orphan_signal=signal.SIGKILL,
        preload=True,
    )


def _worker(home: Home, layout: Layout, environ: Mapping[str, str], number: int) -> Command:
    name = f"worker{number}"
    return Command(
        name=name,
        arguments=_celery("worker.tasks:app", name),
        environ=_environ(home, layout, environ) | {"FEDKRSO_API_KEY": home.secret("worker_key")},
        log=home.logs / f"{name}.log",
        folder=home.path,
        stage=0,
        orphan_signal=signal.SIGKILL,
        preload=True,
    )


def _dashboard(home: Home, layout: Layout, environ: Mapping[str, str], port: int) -> Command:
    require_dashboard()
    options = {
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "server.port": str(port),
        "server.address": layout.host,
        "server.fileWatcherType": "none",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Command(
        name="dashboard",
        arguments=_module("dashboard", *flags),
        environ=_environ(home, layout, environ) | {"FEDKRSO_API_KEY": home.secret("api_key")},
        log=home.logs / "dashboard.log",
        folder=home.path,
        stage=2,
    )


def require_dashboard() -> None:
    """CliError unless the dashboard is installed."""
    if importlib.util.find_spec("dashboard") is None:
        raise CliError("the dashboard is not installed; --no-dashboard does without it")


def _celery(app: str, name: str) -> tuple[str, ...]:
    # a worker in the middle of a task ends only after it, so that an orphan is killed: what it
    # was doing is done again by whoever gets the lease
    place = ("-P", "solo", "-n", f"{name}@%h")
    return _module("celery", "-q", "-A", app, "worker", *place, *_CELERY)


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def _store_keys(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in _STORE_KEYS if name in environ}


def _environ(home: Home, layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    private = {*_PRIVATE, *_STORE_KEYS}
    kept = {name: value for name, value in environ.items() if name not in private}
    threads = environ.get("FEDKRSO_THREADS") or str(max(1, (os.cpu_count() or 1) // 2))
    return kept | {
        "FEDKRSO_HOME": str(home.path),
        "FEDKRSO_SERVER": layout.url,
        "FEDKRSO_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
