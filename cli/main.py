"""The `fedkrso` command. Commands import what they need when they run: --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import access, agent, externals, life, options
from cli.group import Commands
from cli.options import (
    AsJson,
    DashboardPort,
    Host,
    JobFile,
    JobName,
    Key,
    Port,
    Project,
    ServerUrl,
    WithDashboard,
    Workers,
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Federated fine-tuning of language models.",
)
app.add_typer(access.keys, name="keys")
app.add_typer(access.users, name="users")
app.add_typer(access.projects, name="projects")
externals.client.command("run")(agent.run)
app.add_typer(externals.client, name="client")


def run() -> None:
    """The entry point."""
    app()


@app.command()
def up(
    workers: Workers = 2,
    port: Port = 8000,
    dashboard_port: DashboardPort = 8501,
    host: Host = "127.0.0.1",
    dashboard: WithDashboard = True,
) -> None:
    """Start the service on this machine and keep it running."""
    from cli.commands import up as serve
    from cli.service import Wanted

    serve(Wanted(host, port, dashboard_port, workers, dashboard))


@app.command()
def demo(
    workers: Workers = 2,
    port: Port = 8000,
    dashboard_port: DashboardPort = 8501,
    dashboard: WithDashboard = True,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds to train, instead of the example's.")
    ] = None,
) -> None:
    """Start the service, train the example job, export its model."""
    from cli.commands import demo as show
    from cli.service import Wanted

    show(Wanted("127.0.0.1", port, dashboard_port, workers, dashboard), rounds)


@app.command("run")
def run_job(
    job: JobFile,
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    as_json: AsJson = False,
) -> None:
    """Run a job in this process, without any service."""
    from cli.export import adapter_line
    from cli.local import run_here
    from cli.render import stopped_line

    summary = run_here(job, out, options.display(as_json))
    if as_json:
        options.print_json(summary)
        return
    if reason := summary.get("stopped"):
        wanted = summary["spec"]["rounds"]["count"]
        options.print_line(stopped_line(summary["rounds"], wanted, reason))
    options.print_line(f"{out}: model {summary.get('model_sha256')}")
    if how := adapter_line(out):
        options.print_line(how)


@app.command()
def estimate(
    job: JobFile,
    methods: Annotated[
        str, typer.Option(metavar="all|a,b", help="Other methods to compare with.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say what a job will take: bytes, memory, time."""
    from cli.estimate import estimate_here
    from cli.forecast import forecast

    with options.errors().status("estimating; the speed of this machine is measured"):
        found, whole = estimate_here(job, [name.strip() for name in methods.split(",") if name])
    if as_json:
        options.print_json(found)
    else:
        options.output().print(forecast(found, whole))


@app.command()
def submit(
    job: JobFile,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it ends.")] = False,
    project: Project = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send a job to the service."""
    from cli.commands import send, watch_to_the_end

    with options.connect(server, key) as client:
        sent = send(client, job, project)
        if not as_json:
            options.print_line(f"{sent['id']}  {sent['name']}  {sent['state']}")
        if wait:
            watch_to_the_end(client, sent["id"], as_json)
        elif as_json:
            options.print_json(sent)


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows: .jsonl, .csv, .parquet ...")],
    project: Project = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send rows to the service; prints what data.train says then."""
    with options.connect(server, key) as client, file.open("rb") as opened:
        made = client.upload(opened, file.name, project)
    if as_json:
        options.print_json(made)
    else:
        options.print_line(made["source"])


@app.command()
def watch(job: JobName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a job live until it ends."""
    from cli.commands import watch_to_the_end
    from cli.lookup import find_job

    with options.connect(server, key) as client:
        watch_to_the_end(client, find_job(client, job)["id"], as_json)


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    project: Project = None,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the jobs, newest first."""
    from cli.render import jobs_table

    with options.connect(server, key) as client:
        found, after = client.jobs(limit, state=state, project=project)
    if as_json:
        options.print_json({"items": found, "next": after})
    elif found:
        options.output().print(jobs_table(found))
    else:
        options.print_line("no jobs; `fedkrso submit JOB.yaml` sends one")


@app.command()
def cancel(
    job: JobName, server: ServerUrl = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Stop a job."""
    from cli.lookup import find_job

    with options.connect(server, key) as client:
        stopped = client.cancel(find_job(client, job)["id"])
    if as_json:
        options.print_json(stopped)
    else:
        options.print_line(f"{stopped['id']}  {stopped['name']}  {stopped['state']}")


for command in life.COMMANDS:
    app.command()(command)


@app.command()
def delete(
    job: JobName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Remove an ended job with its rounds and models."""
    from cli.lookup import find_job

    with options.connect(server, key) as client:
        found = find_job(client, job)
        what = f"{found['id']}  {found['name']}  {found['state']}"
        if not yes:
            typer.confirm(f"{what}: delete it for good?", abort=True, err=True)
        client.delete(found["id"])
    if as_json:
        options.print_json({"deleted": found["id"]})
    else:
        options.print_line(f"{what}: deleted")


@app.command()
def export(
    job: JobName,
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    round_: Annotated[int | None, typer.Option("--round", min=0, help="After this round.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder in use.")] = False,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Write a job's model to a folder."""
    from cli import export as exports
    from cli.lookup import find_job

    exports.require_empty(out, force)
    with options.connect(server, key) as client:
        found = find_job(client, job)["id"]
        size = exports.export(lambda file: client.save_model(found, round_, file), out, force)
    if as_json:
        options.print_json({"job": found, "round": round_, "path": str(out), "bytes": size})
    else:
        options.print_line(str(out))
        if how := exports.adapter_line(out):
            options.print_line(how)


@app.command()
def methods(server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the methods that a job can name."""
    from cli.render import methods_table

    with options.connect(server, key) as client:
        found = client.methods()
    if as_json:
        options.print_json({"items": found})
    else:
        options.output().print(methods_table(found))


@app.command()
def me(server: ServerUrl = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say who you are to the service: your role and your projects."""
    access.answer(server, key, as_json, access.show_me, "GET", "me")


@app.command()
def audit(
    project: Project = None,
    user: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    server: ServerUrl = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what in your projects, newest first."""
    asked = {"project": project, "user": user, "limit": limit}
    access.answer(server, key, as_json, access.show_audit, "GET", "audit", params=asked)
