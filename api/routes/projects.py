"""Projects and their members."""

from __future__ import annotations

from api import guard
from api.access_schemas import ProjectChange, ProjectIn, ProjectOut, Projects
from api.deps import Config, Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.services import projects

router = guard.router("/v1/projects", "projects", guard.ReadByMembers)


@router.get("")
def list_projects(engine: Database, settings: Config, caller: CallerOf) -> Projects:
    """The caller's projects; for an admin all of them."""
    return Projects(items=projects.listing(engine, caller, settings.max_open_jobs))


@router.post("", status_code=201, responses=problem_responses(409))
def create_project(
    body: ProjectIn, engine: Database, settings: Config, caller: CallerOf
) -> ProjectOut:
    """Makes a project without members."""
    return projects.create(engine, caller, body, settings.max_open_jobs)


@router.get("/{project}", responses=problem_responses(404))
def get_project(project: str, engine: Database, settings: Config) -> ProjectOut:
    """One project with its members."""
    return projects.get(engine, project, settings.max_open_jobs)


@router.patch("/{project}", responses=problem_responses(404))
def change_project(
    project: str, body: ProjectChange, engine: Database, settings: Config
) -> ProjectOut:
    """Sets how many jobs of the project may be open."""
    return projects.change(engine, project, body, settings.max_open_jobs)


@router.delete("/{project}", status_code=204, responses=problem_responses(404, 409))
def remove_project(project: str, engine: Database) -> None:
    """Takes away a project that has no jobs."""
    projects.remove(engine, project)


@router.put("/{project}/members/{user}", responses=problem_responses(404))
def add_member(project: str, user: str, engine: Database, settings: Config) -> ProjectOut:
    """Lets a user see the project; harmless for a member."""
    return projects.add_member(engine, project, user, settings.max_open_jobs)


@router.delete("/{project}/members/{user}", responses=problem_responses(404))
def remove_member(project: str, user: str, engine: Database, settings: Config) -> ProjectOut:
    """Hides the project from a user."""
    return projects.remove_member(engine, project, user, settings.max_open_jobs)
