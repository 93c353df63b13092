"""Users and projects: made, changed, and what stays true of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.access_schemas import UserChange
from api.errors import ApiError
from api.services import jobs, projects, users
from api.services.projects import Place
from tests.api import people
from tests.api.house import House
from tests.api.people import bearer

Json = dict[str, Any]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What calls that start together give, or the refusal that they raise."""
    start, found = threading.Barrier(len(calls)), [None] * len(calls)

    def run(place: int, call: Callable[[], Any]) -> None:
        start.wait()
        try:
            found[place] = call()
        except ApiError as refused:
            found[place] = refused  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_user_is_made_once(client: TestClient) -> None:
    first = client.post("/v1/users", json={"name": "ada", "role": "viewer"})
    assert (first.status_code, first.json()["projects"]) == (201, [])
    again = client.post("/v1/users", json={"name": "ada"})
    assert (again.status_code, "'ada'" in again.json()["detail"]) == (409, True)
    assert [u["name"] for u in client.get("/v1/users").json()["items"]] == ["ada", "admin"]


@pytest.mark.parametrize("name", ["", "Ada", "a b", "a/b", "-a", "x" * 64, "ä", "a\n"])
def test_a_name_that_is_none_is_refused(client: TestClient, name: str) -> None:
    for what in ("users", "projects"):
        answer = client.post(f"/v1/{what}", json={"name": name})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")


def test_a_disabled_user_has_no_valid_key_until_enabled_again(
    client: TestClient, engine: Engine
) -> None:
    key = people.user(engine, "ada")
    assert client.patch("/v1/users/ada", json={"disabled": True}).json()["disabled"]
    assert client.get("/v1/me", headers=bearer(key)).status_code == 401
    client.patch("/v1/users/ada", json={"disabled": False})
    assert client.get("/v1/me", headers=bearer(key)).status_code == 200


def test_a_role_counts_from_the_next_request_on(client: TestClient, engine: Engine) -> None:
    key = people.user(engine, "ada", "viewer")
    assert client.get("/v1/users", headers=bearer(key)).status_code == 403
    client.patch("/v1/users/ada", json={"role": "admin"})
    assert client.get("/v1/users", headers=bearer(key)).status_code == 200


def test_nobody_below_an_admin_raises_their_own_rights(client: TestClient, engine: Engine) -> None:
    people.project(engine, "theirs")
    headers = bearer(people.user(engine, "ada", "operator"))
    tries = [
        ("PATCH", "/v1/users/ada", {"role": "admin"}),
        ("POST", "/v1/users", {"name": "eve", "role": "admin"}),
        ("PUT", "/v1/projects/theirs/members/ada", None),
        ("POST", "/v1/projects", {"name": "mine"}),
        ("POST", "/v1/keys", {"user": "admin"}),
        ("POST", "/v1/keys", {"role": "worker"}),
    ]
    for method, path, body in tries:
        assert client.request(method, path, json=body, headers=headers).status_code == 403, path
    assert client.get("/v1/me", headers=headers).json()["role"] == "operator"


@pytest.mark.parametrize("change", [{"role": "operator"}, {"disabled": True}])
def test_the_last_admin_stays_one(client: TestClient, engine: Engine, change: Json) -> None:
    refused = client.patch("/v1/users/admin", json=change)
    assert (refused.status_code, "last admin" in refused.json()["detail"]) == (409, True)
    people.user(engine, "second", "admin")
    assert client.patch("/v1/users/admin", json=change).status_code == 200


def test_two_admins_who_demote_each_other_leave_one(client: TestClient, engine: Engine) -> None:
    people.user(engine, "second", "admin")
    change = UserChange(role="viewer")
    found = at_once(
        lambda: users.change(engine, "admin", change),
        lambda: users.change(engine, "second", change),
    )
    assert sum(isinstance(each, ApiError) for each in found) == 1
    assert [u.role for u in users.listing(engine)].count("admin") == 1


def test_a_project_shows_its_members_and_open_jobs(client: TestClient, engine: Engine) -> None:
    made = client.post("/v1/projects", json={"name": "reviews", "max_open_jobs": 3}).json()
    assert (made["members"], made["open_jobs"], made["max_open_jobs"]) == ([], 0, 3)
    people.user(engine, "ada")
    assert client.put("/v1/projects/reviews/members/ada").json()["members"] == ["ada"]
    assert client.put("/v1/projects/reviews/members/ada").json()["members"] == ["ada"]
    assert client.put("/v1/projects/reviews/members/nobody").status_code == 404
    assert client.get("/v1/users/ada").json()["projects"] == ["reviews"]
    assert client.delete("/v1/projects/reviews/members/ada").json()["members"] == []
    assert client.delete("/v1/projects/reviews/members/ada").status_code == 404


def test_a_project_goes_only_when_it_is_empty(client: TestClient, house: House) -> None:
    client.post("/v1/projects", json={"name": "old"})
    job = house.job()
    house.set_job(job, project="old")
    refused = client.delete("/v1/projects/old")
    assert (refused.status_code, "has 1 jobs" in refused.json()["detail"]) == (409, True)
    house.set_job(job, project="default")
    assert client.delete("/v1/projects/old").status_code == 204
    assert client.get("/v1/projects/old").status_code == 404
    house.set_job(job, project="elsewhere")
    assert client.delete("/v1/projects/default").status_code == 409


def test_a_job_goes_into_the_project_that_is_asked_for_or_the_only_one(
    client: TestClient, engine: Engine, tiny_job: Callable[..., Json]
) -> None:
    def submitted(headers: dict[str, str], query: str = "") -> Any:
        return client.post(f"/v1/jobs{query}", json=tiny_job(), headers=headers)

    people.project(engine, "ours")
    people.project(engine, "theirs")
    one = bearer(people.user(engine, "one", "operator", "ours"))
    two = bearer(people.user(engine, "two", "operator", "ours", "theirs"))
    none = bearer(people.user(engine, "three", "operator"))
    job = submitted(one).json()
    assert (job["project"], job["created_by"]) == ("ours", "one")
    assert submitted(two, "?project=theirs").json()["project"] == "theirs"
    for headers in (two, none):
        unclear = submitted(headers)
        assert (unclear.status_code, "no project" in unclear.json()["detail"]) == (422, True)
    for headers, query in ((one, "?project=theirs"), (one, "?project=x"), (two, "?project=x")):
        assert submitted(headers, query).status_code == 404
    admin = client.post("/v1/jobs", json=tiny_job()).json()
    assert (admin["project"], admin["created_by"]) == ("default", "admin")
    assert client.post("/v1/jobs?project=x", json=tiny_job()).status_code == 404


def test_a_full_project_takes_no_job_until_one_has_ended(
    client: TestClient, engine: Engine, tiny_job: Callable[..., Json]
) -> None:
    people.project(engine, "small", max_open_jobs=1)
    first = client.post("/v1/jobs?project=small", json=tiny_job()).json()["id"]
    refused = client.post("/v1/jobs?project=small", json=tiny_job())
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (409, "urn:fedkrso:problem:too-many-jobs")
    assert problem["detail"] == "project 'small' has 1 open jobs, its limit max_open_jobs is 1"
    client.post(f"/v1/jobs/{first}/cancel")
    assert client.post("/v1/jobs?project=small", json=tiny_job()).status_code == 201
    client.patch("/v1/projects/small", json={"max_open_jobs": 2})
    assert client.post("/v1/jobs?project=small", json=tiny_job()).status_code == 201


def test_of_many_submits_at_once_only_so_many_are_taken_as_there_is_room(
    client: TestClient, engine: Engine, tiny_job: Callable[..., Json]
) -> None:
    from fedkrso_core.check import check
    from fedkrso_core.spec import JobSpec

    people.project(engine, "small", max_open_jobs=3)
    checked = check(JobSpec.model_validate(tiny_job()))
    place = Place("small", "admin", 100)
    found = at_once(*[lambda: jobs._store(engine, checked, place)] * 8)
    refused = [each for each in found if isinstance(each, ApiError)]
    assert len(refused) == 5
    assert {each.kind for each in refused} == {"too-many-jobs"}
    assert projects.get(engine, "small", 100).open_jobs == 3
