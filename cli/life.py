"""Commands about the life of a job beside submit and cancel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.errors import CliError
from cli.options import AsJson, JobName, Key, ServerUrl

if TYPE_CHECKING:
    from cli.client import ApiClient, Json

Changed = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field to change, such as local.lr=0.01."),
]


def pause(job: JobName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """Take a job's work back until it is resumed."""
    _act(job, server, key, as_json, lambda client, found: client.act(found, "pause"))


def resume(
    job: JobName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Let a paused job go on."""
    _act(job, server, key, as_json, lambda client, found: client.act(found, "resume"))


def retry(job: JobName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """Let a failed job go on from its last closed round."""
    _act(job, server, key, as_json, lambda client, found: client.act(found, "retry"))


def prioritize(
    job: JobName,
    priority: Annotated[int, typer.Argument(min=-1000, max=1000, help="Higher goes first.")],
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Change the priority of a job."""
    _act(job, server, key, as_json, lambda client, found: client.prioritize(found, priority))


def clone(
    job: JobName,
    changes: Changed = None,
    name: Annotated[str | None, typer.Option(help="What the new job is called.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it ends.")] = False,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job's file anew, with some fields changed."""
    from cli.commands import watch_to_the_end
    from cli.jobfile import absolute
    from cli.lookup import find_job

    words = [*(changes or []), *([] if name is None else [f"name={name}"])]
    changed = absolute(changes_of(words), Path.cwd())
    with options.connect(server, key) as client:
        made = client.clone(find_job(client, job)["id"], changed)
        if not as_json:
            _say(made)
        if wait:
            watch_to_the_end(client, made["id"], as_json)
        elif as_json:
            options.print_json(made)


COMMANDS: tuple[Callable[..., None], ...] = (pause, resume, retry, clone, prioritize)


def changes_of(words: list[str]) -> dict[str, Any]:
    """FIELD=VALUE words as the nested fields that they change; values are read as YAML."""
    import yaml

    changes: dict[str, Any] = {}
    for word in words:
        path, is_set, text = word.partition("=")
        *parents, field = path.split(".")
        try:
            value = text if path == "name" else yaml.safe_load(text)
            place = changes
            for parent in parents:
                place = place.setdefault(parent, {})
            place[field] = value
        except (yaml.YAMLError, AttributeError, TypeError):
            is_set = ""
        if not is_set or not path:
            raise CliError(f"--set {word}: write FIELD=VALUE, such as local.lr=0.01", code=2)
    return changes


def _act(
    job: str,
    server: str | None,
    key: str | None,
    as_json: bool,
    act: Callable[[ApiClient, str], Json],
) -> None:
    from cli.lookup import find_job

    with options.connect(server, key) as client:
        changed = act(client, find_job(client, job)["id"])
    if as_json:
        options.print_json(changed)
    else:
        _say(changed)


def _say(job: Json) -> None:
    options.print_line(f"{job['id']}  {job['name']}  {job['state']}")
