"""What the longer commands do between their options and the modules."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import typer

from cli import options
from cli.client import ApiClient, ApiProblem, Json
from cli.demo import demo as show_demo
from cli.demo import speaker
from cli.errors import bad_job
from cli.jobfile import load
from cli.service import Wanted, serving
from cli.state import Home
from cli.watch import early_end, follow, require_done

INTERRUPTED = 130


def up(wanted: Wanted) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    home = Home.of(os.environ)
    say = speaker(options.output())
    say(f"starting the service of {home.path}")
    try:
        with serving(home, wanted, say) as server:
            say(f"API        {server.url}")
            if server.dashboard:
                say(f"dashboard  {server.dashboard}")
            say("Ctrl-C stops everything")
            threading.Event().wait()
    except KeyboardInterrupt:
        say("stopped")


def demo(wanted: Wanted, rounds: int | None = None) -> None:
    """Show everything once; on a terminal, keep it open to look at."""
    console = options.output()
    keep_serving = sys.stdout.isatty() and os.environ.get("DEMO_EXIT") != "1"
    try:
        show_demo(Home.of(os.environ), wanted, console, keep_serving, rounds)
    except KeyboardInterrupt:
        raise typer.Exit(0 if keep_serving else INTERRUPTED) from None


def send(client: ApiClient, path: Path, project: str | None = None) -> Json:
    """Submit the job file at `path`; each of its problems is a line."""
    try:
        return client.submit(load(path, Path.cwd()), project)
    except ApiProblem as problem:
        if problem.status != 422 or not problem.errors:
            raise
        fields = [(error["field"], error["message"]) for error in problem.errors]
        raise bad_job(path, fields) from None


def watch_to_the_end(client: ApiClient, job: str, as_json: bool) -> None:
    """Follow a job; exit code 0 if it is done, even with fewer rounds, 1 if it ended otherwise."""
    try:
        end = follow(client, job, options.display(as_json))
    except KeyboardInterrupt:
        options.errors().print(
            f"no longer watching; the job goes on: fedkrso watch {job}", highlight=False
        )
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        options.print_json({"job": end.job, "rounds": end.rounds})
    elif notice := early_end(end.job):
        options.print_line(notice)
    require_done(end.job)
