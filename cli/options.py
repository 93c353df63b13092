"""Options that commands share, and what they stand for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from cli.client import ApiClient
    from cli.display import Display

JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, the beginning of it, or its name.")
]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", envvar="FEDKRSO_SERVER", help="The service's address."),
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="FEDKRSO_API_KEY", help="The key to use it with.")
]
Project = Annotated[
    str | None, typer.Option("--project", envvar="FEDKRSO_PROJECT", help="Name of a project.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Workers = Annotated[int, typer.Option(min=0, max=256, help="Worker processes.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any.")]
DashboardPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of the dashboard.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
WithDashboard = Annotated[bool, typer.Option("--dashboard/--no-dashboard", help="The dashboard.")]


def connect(server: str | None, key: str | None) -> ApiClient:
    """A client for the given service and key, else for those of the state folder."""
    from cli.client import ApiClient
    from cli.state import Home, default_server

    home = Home.of(os.environ)
    return ApiClient(server or default_server(home), key or home.key("api_key"))


def display(as_json: bool) -> Display:
    """Where progress is shown."""
    from cli.display import SilentDisplay, display_on

    return SilentDisplay(errors()) if as_json else display_on(output())


def output() -> Console:
    """The console of stdout; without a terminal, as wide as its lines are."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def errors() -> Console:
    """The console of stderr."""
    return Console(stderr=True)


def print_errors(lines: Sequence[str]) -> None:
    """Red lines to stderr, each as it is."""
    for line in lines:
        errors().print(line, style="red", markup=False, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """JSON to stdout; a loss that is not a number becomes null."""
    import json

    finite = json.loads(json.dumps(data, default=str), parse_constant=lambda _: None)
    typer.echo(json.dumps(finite, indent=2, ensure_ascii=False))


def print_line(text: str) -> None:
    """A line to stdout."""
    typer.echo(text)
