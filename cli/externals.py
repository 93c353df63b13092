"""`fedkrso client`: invite, enrol, list and revoke external clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.access import DAY_S, answer
from cli.errors import CliError
from cli.options import AsJson, JobName, Key, Project, ServerUrl

if TYPE_CHECKING:
    from cli.client import ApiClient, Json
    from cli.identity import Identity

client = typer.Typer(no_args_is_help=True, help="External clients, which train on their own data.")

ClientName = Annotated[str, typer.Argument(metavar="CLIENT", help="A client's name or id.")]
LabelWords = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="May be repeated.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--file", help="File of the client's key. [default: client.json of the state]"),
]
Token = Annotated[
    str,
    typer.Option(envvar="FEDKRSO_TOKEN", prompt=True, hide_input=True, help="Of the invitation."),
]


def labels_of(words: list[str] | None) -> dict[str, str]:
    """The labels of NAME=VALUE words."""
    found = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise CliError(f"--label {word}: allowed: NAME=VALUE", code=2)
        found[name] = value
    return found


def find(api: ApiClient, name: str) -> Json:
    """The client with this id or name; CliError if there is none, or several projects have one."""
    every = api.ask("GET", "clients")["items"]
    found = [one for one in every if name in (one["id"], one["name"])]
    if len(found) == 1:
        return dict(found[0])
    if not found:
        raise CliError(f"there is no client {name!r}; `fedkrso client list` shows them")
    lines = (f"{one['id']}  {one['name']}  project {one['project']}" for one in found)
    raise CliError(f"{len(found)} clients are called {name!r}; give the id of one:", *lines)


@client.command()
def invite(
    label: LabelWords = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="Valid for so many days.")] = 7,
    project: Project = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make an invitation for one client and print its token, this once (operators)."""
    body = {"labels": labels_of(label), "expires_in_s": days * DAY_S, "project": project}
    answer(server, key, as_json, _show_token, "POST", "invitations", json=body)


def _show_token(made: Json) -> str:
    options.errors().print("This token is shown once, and enrols one client.", highlight=False)
    return str(made["token"])


@client.command()
def invitations(
    project: Project = None, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """List the invitations, without their tokens (members)."""
    from cli.access_tables import invitations_table

    asked = {"project": project}
    shown = _items(invitations_table)
    answer(server, key, as_json, shown, "GET", "invitations", params=asked)


def _items(table: Any) -> Any:
    return lambda found: table(found["items"])


@client.command()
def uninvite(
    invitation: Annotated[str, typer.Argument(help="An invitation's id.")],
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make an invitation invalid (operators)."""
    line = lambda row: f"{row['id']}  {row['state']}"  # noqa: E731
    answer(server, key, as_json, line, "DELETE", "invitations", invitation)


@client.command()
def enrol(
    token: Token,
    name: Annotated[str, typer.Option(help="What the client is called, such as hospital-a.")],
    file: KeyFile = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of a client.")] = False,
    server: ServerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Become a client of a service: exchange an invitation's token for a key of your own."""
    from cli import identity

    path = file or identity.default_path()
    if path.exists() and not force:
        raise CliError(f"{path} is there already: --force replaces it, --file names another one")
    with options.connect(server, token) as api:
        made = api.ask("POST", "enrolments", json={"name": name, **_about_me()})
        own = _identity(api.server, made)
    identity.save(own, path)
    _say_hello(own)
    _show_own(made["client"], path, as_json)


def _about_me() -> Json:
    from fedkrso_core import __version__
    from worker.hardware import hardware  # loads torch

    return {"version": __version__, "hardware": hardware()}


def _identity(server: str, made: Json) -> Identity:
    from cli.identity import Identity

    row = made["client"]
    return Identity(server, row["id"], row["name"], row["project"], made["key"])


def _say_hello(own: Identity) -> None:
    """The first use of the key: from then on the invitation is used up."""
    with options.connect(own.server, own.key) as api:
        api.ask("PUT", "client", json=_about_me())


def _show_own(row: Json, path: Path, as_json: bool) -> None:
    if as_json:
        options.print_json(row | {"file": str(path)})
    else:
        options.print_line(f"{row['name']}  project {row['project']}  key in {path}")


@client.command()
def rotate(
    file: KeyFile = None,
    grace_hours: Annotated[int, typer.Option(min=0, help="The old key stays valid so long.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Put a new key in the place of this client's own."""
    from cli import identity

    path = file or identity.default_path()
    own = identity.load(path)
    body = {"grace_s": grace_hours * 3600}
    with options.connect(own.server, own.key) as api:
        made = api.ask("POST", "client", "rotate", json=body)
    identity.save(_identity(own.server, made), path)
    _show_own(made["client"], path, as_json)


@client.command("list")
def list_clients(
    project: Project = None, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """List the external clients: labels, hardware, when last heard of (members)."""
    from cli.access_tables import externals_table

    shown = _items(externals_table)
    answer(server, key, as_json, shown, "GET", "clients", params={"project": project})


@client.command()
def joined(
    job: JobName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Show who has joined a job, who refuses and why, and who is missing (members)."""
    from cli.access_tables import joined_table
    from cli.lookup import find_job

    with options.connect(server, key) as api:
        found = api.ask("GET", "jobs", find_job(api, job)["id"], "externals")
    if as_json:
        options.print_json(found)
        return
    options.output().print(joined_table(found))
    if found["lacks"]:
        options.print_line(f"waits for {found['lacks']}")


@client.command()
def label(
    which: ClientName,
    label: LabelWords = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give a client other labels; those not named are taken away (operators)."""
    _act(server, key, as_json, which, "PATCH", json={"labels": labels_of(label)})


@client.command()
def revoke(
    which: ClientName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Make a client's keys invalid at once (operators)."""
    _act(server, key, as_json, which, "DELETE")


@client.command()
def release(
    which: ClientName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """End a client's quarantine (operators)."""
    _act(server, key, as_json, which, "POST", "release")


def _act(
    server: str | None, key: str | None, as_json: bool, which: str, method: str, *parts: str,
    **body: Any,
) -> None:  # fmt: skip
    with options.connect(server, key) as api:
        row = api.ask(method, "clients", find(api, which)["id"], *parts, **body)
    if as_json:
        options.print_json(row)
    else:
        named = " ".join(f"{name}={value}" for name, value in row["labels"].items())
        options.print_line(f"{row['name']}  {row['state']}  {named}".rstrip())
