"""Every role on every route, in a project of its own and in one of others.

A new route without a line in RULES fails: say here who may use it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.guard import Guarded
from api.main import app
from api.services import keys, projects
from tests.api import people
from tests.api.house import House

METHODS = {"get", "post", "put", "delete", "patch"}
OPEN = {"/healthz", "/readyz", "/metrics"}  # the last has a key of its own
# the least role; a path with a job or a project is hidden from those that are not in the project
RULES = {
    "POST /v1/jobs": "operator",
    "POST /v1/jobs:estimate": "operator",
    "POST /v1/jobs:partition": "operator",
    "GET /v1/jobs": "viewer",
    "GET /v1/jobs:series": "viewer",
    "GET /v1/jobs/{job_id}": "viewer",
    "PATCH /v1/jobs/{job_id}": "operator",
    "DELETE /v1/jobs/{job_id}": "operator",
    "POST /v1/jobs/{job_id}/cancel": "operator",
    "POST /v1/jobs/{job_id}/pause": "operator",
    "POST /v1/jobs/{job_id}/resume": "operator",
    "POST /v1/jobs/{job_id}/retry": "operator",
    "POST /v1/jobs/{job_id}/clone": "operator",
    "GET /v1/jobs/{job_id}/rounds": "viewer",
    "GET /v1/jobs/{job_id}/rounds/{number}/clients": "viewer",
    "GET /v1/jobs/{job_id}/events": "viewer",
    "GET /v1/jobs/{job_id}/model": "viewer",
    "POST /v1/uploads": "operator",
    "GET /v1/uploads": "viewer",
    "DELETE /v1/uploads/{source}": "operator",
    "GET /v1/methods": "viewer",
    "GET /v1/service": "admin",
    "GET /v1/models": "viewer",
    "GET /v1/datasets": "viewer",
    "GET /v1/schemas/job": "viewer",
    "GET /v1/me": "viewer",
    "GET /v1/keys": "viewer",
    "POST /v1/keys": "viewer",
    "DELETE /v1/keys/{key_id}": "viewer",
    "POST /v1/keys/{key_id}/rotate": "viewer",
    "GET /v1/audit": "viewer",
    "GET /v1/users": "admin",
    "POST /v1/users": "admin",
    "GET /v1/users/{user}": "admin",
    "PATCH /v1/users/{user}": "admin",
    "GET /v1/projects": "viewer",
    "POST /v1/projects": "admin",
    "GET /v1/projects/{project}": "viewer",
    "PATCH /v1/projects/{project}": "admin",
    "DELETE /v1/projects/{project}": "admin",
    "PUT /v1/projects/{project}/members/{user}": "admin",
    "DELETE /v1/projects/{project}/members/{user}": "admin",
    "POST /v1/invitations": "operator",
    "GET /v1/invitations": "viewer",
    "DELETE /v1/invitations/{invitation_id}": "operator",
    "POST /v1/enrolments": "invitation",
    "GET /v1/clients": "viewer",
    "GET /v1/clients/{client_id}": "viewer",
    "PATCH /v1/clients/{client_id}": "operator",
    "DELETE /v1/clients/{client_id}": "operator",
    "POST /v1/clients/{client_id}/release": "operator",
    "GET /v1/client": "client",
    "PUT /v1/client": "client",
    "POST /v1/client/rotate": "client",
    "GET /v1/client/jobs": "client",
    "POST /v1/client/jobs/{job_id}/join": "client",
    "POST /v1/client/jobs/{job_id}/refuse": "client",
    "GET /v1/jobs/{job_id}/externals": "viewer",
    "POST /v1/assignments/{assignment_id}/holdout": "worker",
    "POST /v1/assignments/claim": "worker",
    "POST /v1/assignments/gone": "worker",
    "POST /v1/assignments/{assignment_id}/heartbeat": "worker",
    "GET /v1/assignments/{assignment_id}/blobs/{digest}": "worker",
    "GET /v1/assignments/{assignment_id}/data/{source}": "worker",
    "GET /v1/assignments/{assignment_id}/update": "worker",
    "PUT /v1/assignments/{assignment_id}/update": "worker",
    "POST /v1/assignments/{assignment_id}/fail": "worker",
}
RANK = {"viewer": 1, "operator": 2, "admin": 3}
BROKEN = b'{"this is": not json'


def operations() -> Iterator[str]:
    for path, item in app.openapi()["paths"].items():
        if path not in OPEN:
            yield from (f"{method.upper()} {path}" for method in sorted(METHODS & set(item)))


def allowed(role: str, least: str) -> bool:
    if role not in RANK or least not in RANK:
        return role == least or (role, least) == ("client", "worker")
    return RANK[role] >= RANK[least]


def ask(http: TestClient, operation: str, headers: dict[str, str], **names: str) -> Any:
    method, path = operation.split(" ", 1)
    given = {"number": "1", "user": "nobody", "key_id": "0" * 16, "assignment_id": "a"}
    given |= {"invitation_id": "0" * 16, "client_id": "0" * 16}
    given |= {"source": f"upload:{'0' * 64}.csv"}
    given |= {"digest": "0" * 64, "project": "ours", "job_id": "none"} | names
    params = {"format": "json"} if path.endswith("/events") else {}
    body = None if method in ("GET", "DELETE") else {}
    if path.endswith("/rotate"):
        body = {"grace_s": 60}  # the key is needed for the next route
    return http.request(method, path.format(**given), headers=headers, params=params, json=body)


def test_every_route_has_a_rule() -> None:
    assert set(operations()) == set(RULES)


def test_every_route_is_guarded_also_one_that_is_not_in_the_schema() -> None:
    included = [getattr(each, "original_router", None) for each in app.routes]
    routes = [route for router in included if router for route in router.routes]
    own = [each for each in app.routes if isinstance(each, APIRoute)]
    known = [r for r in [*routes, *own] if isinstance(r, APIRoute) and r.path not in OPEN]
    assert len(known) >= len(RULES)
    assert [r.path for r in known if not isinstance(r, Guarded)] == []


@pytest.fixture
def jobs(house: House, engine: Engine, client: TestClient) -> dict[str, str]:
    """A job with an open round in each of two projects."""
    made = {}
    for name in ("ours", "theirs"):
        people.project(engine, name)
        made[name] = house.open_job()
        house.set_job(made[name], project=name)
    return made


def key_of(engine: Engine, role: Any) -> str:
    if role == "client":
        return people.external(engine, "c", "ours").key
    made = people.worker(engine) if role == "worker" else people.user(engine, "u", role, "ours")
    return made.key


@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "worker", "client"])
def test_a_role_can_do_what_its_rule_says_and_no_more(
    client: TestClient, engine: Engine, jobs: dict[str, str], role: Any
) -> None:
    headers = people.bearer(key_of(engine, role))
    for operation in sorted(RULES):
        for place, job in jobs.items():
            answer = ask(client, operation, headers, project=place, job_id=job)
            seen = (operation, place, answer.status_code, answer.text)
            hidden = "{job_id}" in operation or "{project}" in operation
            if not allowed(role, RULES[operation]):
                assert answer.status_code == 403, seen
            elif place == "theirs" and hidden and role != "admin":
                assert answer.status_code == 404, seen
            else:
                assert answer.status_code not in (401, 403, 500), seen
                assert answer.status_code != 404 or "{job_id}" not in operation, seen


def test_a_job_of_others_looks_like_one_that_does_not_exist(
    client: TestClient, engine: Engine, jobs: dict[str, str]
) -> None:
    headers = people.bearer(people.user(engine, "u", "operator", "ours"))
    for operation in RULES:
        if "{job_id}" in operation and RULES[operation] in RANK:
            theirs = ask(client, operation, headers, job_id=jobs["theirs"])
            missing = ask(client, operation, headers, job_id="f" * 12)
            same = theirs.text.replace(jobs["theirs"], "f" * 12)
            assert (theirs.status_code, same) == (404, missing.text), operation


@pytest.mark.parametrize("key", [None, "wrong", "fk_0123456789abcdef_wrong"])
def test_without_a_key_nothing_of_a_body_is_looked_at(client: TestClient, key: str | None) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}" if key else ""}
    for operation in RULES:
        method, path = operation.split(" ", 1)
        answer = client.request(method, path, headers=headers, content=BROKEN)
        assert answer.status_code == 401, operation


@pytest.mark.parametrize("lost", ["key", "membership"])
def test_a_stream_ends_when_its_reader_may_not_read_any_more(
    client: TestClient,
    engine: Engine,
    jobs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    monkeypatch.setattr("api.routes.jobs._RECHECK_S", 0.0)
    key = people.user(engine, "u", "viewer", "ours")

    def lose() -> None:
        if lost == "key":
            keys.revoke(engine, people.ADMIN, key.id)
        else:
            projects.remove_member(engine, "ours", "u", 100)

    later = threading.Timer(1.0, lose)
    later.start()
    answer = client.get(f"/v1/jobs/{jobs['ours']}/events", headers=people.bearer(key))
    later.join()
    assert "round-opened" in answer.text  # the job goes on, its stream does not
    assert client.get(f"/v1/jobs/{jobs['ours']}").json()["state"] == "running"


def test_a_list_has_the_jobs_of_the_callers_projects_alone(
    client: TestClient, engine: Engine, jobs: dict[str, str]
) -> None:
    def listed(headers: dict[str, str], **params: Any) -> list[str]:
        answer = client.get("/v1/jobs", headers=headers, params=params)
        return [job["id"] for job in answer.json()["items"]]

    ours = people.bearer(people.user(engine, "one", "viewer", "ours"))
    both = people.bearer(people.user(engine, "two", "viewer", "ours", "theirs"))
    none = people.bearer(people.user(engine, "three", "operator"))
    admin = people.bearer(people.user(engine, "four", "admin"))
    assert listed(ours) == [jobs["ours"]]
    assert listed(both) == listed(admin) == [jobs["theirs"], jobs["ours"]]
    assert listed(both, project="ours") == [jobs["ours"]]
    assert listed(none) == []
    # neither a filter nor a page's cursor shows what is hidden
    assert client.get("/v1/jobs?project=theirs", headers=ours).status_code == 404
    hidden = client.get("/v1/jobs", params={"after": jobs["theirs"]}, headers=ours)
    assert hidden.status_code == 404


def test_a_page_of_jobs_is_full_although_others_are_hidden(
    client: TestClient, engine: Engine, house: House, jobs: dict[str, str]
) -> None:
    for number in range(6):
        job = house.job()
        house.set_job(job, project="theirs" if number % 2 else "ours")
    ours = people.bearer(people.user(engine, "one", "viewer", "ours"))
    page = client.get("/v1/jobs?limit=3", headers=ours).json()
    assert len(page["items"]) == 3
    rest = client.get("/v1/jobs", params={"after": page["next"]}, headers=ours).json()
    assert [len(rest["items"]), rest["next"]] == [1, None]
