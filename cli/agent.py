"""`fedkrso client run`: train on one's own rows for a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.errors import CliError
from cli.externals import KeyFile


def run(
    data: Annotated[Path, typer.Option(help="Your rows: .jsonl, .jsonl.gz, .csv, .tsv, .parquet.")],
    text: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    label: Annotated[
        str | None, typer.Option(help="Column with the label; none for language modelling.")
    ] = None,
    text_pair: Annotated[str | None, typer.Option(help="Second text, for pair tasks.")] = None,
    holdout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of rows that no training sees.")
    ] = 0.1,
    policy: Annotated[Path | None, typer.Option(help="YAML: what this client accepts.")] = None,
    file: KeyFile = None,
) -> None:
    """Take part in every job that invites this client; your rows never leave this machine."""
    from cli import identity

    own = identity.load(file or identity.default_path())
    from worker import policy as policies
    from worker.api import Refused
    from worker.own_rows import OwnRows
    from worker.running import run as work

    rows = OwnRows(data, text, label, text_pair, holdout)
    allowed = policies.read(policy)
    options.errors().print(
        f"{own.name} of project {own.project} at {own.server}: {rows.check()} rows",
        highlight=False,
    )
    folder = identity.default_path().parent / "clients" / own.id
    try:
        work(own.server, own.key, own.name, rows, allowed, folder, _bar())
    except Refused as error:
        raise CliError(f"{own.server} refuses this client: {error}") from None


def _bar() -> Any:
    """A progress bar for each training; on no terminal the log alone says what goes on."""
    if not sys.stderr.isatty():
        return lambda *_: None
    from rich.progress import Progress

    shown = Progress(console=options.errors(), transient=True)
    task = shown.add_task("")

    def tell(assignment: dict[str, Any], step: int) -> None:
        steps = assignment["spec"]["local"]["steps"]
        what = f"job {assignment['job']} round {assignment['round']}"
        if step == 0:
            shown.start()
        shown.update(task, description=what, completed=step, total=steps)
        if step == steps:
            shown.stop()

    return tell
