"""`fedkrso keys`, `users` and `projects`: who may use the service, and with what."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.options import AsJson, Key, ServerUrl

if TYPE_CHECKING:
    from cli.client import Json

DAY_S = 24 * 3600

keys = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys.")
users = typer.Typer(no_args_is_help=True, help="List, make and change users (admins).")
projects = typer.Typer(no_args_is_help=True, help="Projects and their members.")

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="A key's id, as `keys list` shows it.")]
Name = Annotated[str, typer.Argument(help="Name of the project.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Somebody else's (admins).")]
OpenJobs = Annotated[
    int | None, typer.Option(min=0, help="Jobs that may be open at once. [default: the service's]")
]


class Role(StrEnum):
    """What a user may do."""

    admin = "admin"
    operator = "operator"
    viewer = "viewer"


RoleOption = Annotated[
    Role, typer.Option(help="admin: everything; operator: also submit and cancel; viewer: look.")
]


def answer(
    server: str | None,
    key: str | None,
    as_json: bool,
    show: Callable[[Json], Any],
    *asked: str,
    **more: Any,
) -> None:
    """Asks the service and shows its answer; `asked` is the method and the parts of the path."""
    with options.connect(server, key) as client:
        found = client.ask(*asked, **more)
    if as_json:
        options.print_json(found)
        return
    shown = show(found)
    if isinstance(shown, str):
        options.print_line(shown)
    elif shown is not None:
        options.output().print(shown)


def key_id(given: str) -> str:
    """The id in `fk_<id>` or in a whole key, which must not get into an address."""
    found = re.match(r"fk_([0-9a-f]{16})(_|$)", given)
    return found[1] if found else given


def _show_key(made: Json) -> str:
    options.errors().print("This key is shown once; keep it now.", highlight=False)
    return str(made["key"])


def _table(kind: str) -> Callable[[Json], Any]:
    def draw(found: Json) -> Any:
        from cli import access_tables

        items: Sequence[Json] = found["items"]
        return getattr(access_tables, kind)(items)

    return draw


@keys.command("create")
def create_key(
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    user: OfUser = None,
    worker: Annotated[bool, typer.Option("--worker", help="For training (admins).")] = False,
    days: Annotated[int | None, typer.Option(min=1, help="Valid for so many days.")] = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""
    body: Json = {"label": label, "role": "worker" if worker else "user", "user": user}
    body["expires_in_s"] = None if days is None else days * DAY_S
    answer(server, key, as_json, _show_key, "POST", "keys", json=body)


@keys.command("list")
def list_keys(
    user: OfUser = None, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """List your keys, without their secrets; an admin's list is of all keys."""
    answer(server, key, as_json, _table("keys_table"), "GET", "keys", params={"user": user})


@keys.command("revoke")
def revoke_key(
    which: KeyId, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Make a key invalid at once."""
    answer(
        server, key, as_json, lambda k: f"{k['id']}  {k['state']}", "DELETE", "keys", key_id(which)
    )


@keys.command("rotate")
def rotate_key(
    which: KeyId,
    grace_hours: Annotated[int, typer.Option(min=0, help="The old key stays valid so long.")] = 0,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a key in the place of another and print it, this once."""
    body = {"grace_s": grace_hours * 3600}
    answer(server, key, as_json, _show_key, "POST", "keys", key_id(which), "rotate", json=body)


@users.command("list")
def list_users(server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """List all users."""
    answer(server, key, as_json, _table("users_table"), "GET", "users")


@users.command("create")
def create_user(
    name: UserName,
    role: RoleOption = Role.operator,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a user; `keys create --user` makes their key, `projects add` lets them in."""
    body = {"name": name, "role": role.value}
    answer(server, key, as_json, _user_line, "POST", "users", json=body)


@users.command("change")
def change_user(
    name: UserName,
    role: Annotated[Role | None, typer.Option(help="Their new role.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether their keys are refused.")
    ] = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give a user another role, or disable or enable them."""
    body = {"role": role and role.value, "disabled": disabled}
    answer(server, key, as_json, _user_line, "PATCH", "users", name, json=body)


def _user_line(user: Json) -> str:
    return f"{user['name']}  {user['role']}{'  disabled' if user['disabled'] else ''}"


@projects.command("list")
def list_projects(server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """List your projects; an admin's list is of all of them."""
    answer(server, key, as_json, _table("projects_table"), "GET", "projects")


@projects.command("create")
def create_project(
    name: Name,
    max_open_jobs: OpenJobs = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a project without members (admins)."""
    body = {"name": name, "max_open_jobs": max_open_jobs}
    answer(server, key, as_json, _project_line, "POST", "projects", json=body)


@projects.command("change")
def change_project(
    name: Name,
    max_open_jobs: OpenJobs = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Set how many jobs of a project may be open (admins)."""
    body = {"max_open_jobs": max_open_jobs}
    answer(server, key, as_json, _project_line, "PATCH", "projects", name, json=body)


@projects.command("add")
def add_member(
    name: Name,
    user: UserName,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a user into a project (admins)."""
    answer(server, key, as_json, _project_line, "PUT", "projects", name, "members", user)


@projects.command("drop")
def drop_member(
    name: Name,
    user: UserName,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take a user out of a project (admins)."""
    answer(server, key, as_json, _project_line, "DELETE", "projects", name, "members", user)


@projects.command("remove")
def remove_project(name: Name, server: ServerUrl = None, key: Key = None) -> None:
    """Take away a project that has no jobs (admins)."""
    with options.connect(server, key) as client:
        client.ask("DELETE", "projects", name)
    options.print_line(f"{name}  removed")


def _project_line(project: Json) -> str:
    members = ", ".join(project["members"]) or "no members"
    return f"{project['name']}  {project['open_jobs']}/{project['max_open_jobs']} open  {members}"


def show_audit(found: Json) -> Any:
    """The table of a page of the audit log."""
    return _table("audit_table")(found)


def show_me(me: Json) -> str:
    """Who the caller is, in a line."""
    where = ", ".join(me["projects"]) or "none"
    return f"{me['user']}  {me['role']}  projects: {where}  key: {me['key']['id']}"
