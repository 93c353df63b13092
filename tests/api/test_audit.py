"""The audit log: who did what, in the transaction that did it, and who may read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from api.db.session import reading
from api.db.tables import Audit, Event, Job
from api.services import jobs
from tests.api import people
from tests.api.exchange import WORKER_KEY, as_worker
from tests.api.house import House
from tests.api.people import bearer

Json = dict[str, Any]


def lines(http: TestClient, **query: Any) -> list[Json]:
    answer = http.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_an_action_is_noted_with_who_what_where_and_the_request(
    client: TestClient, engine: Engine, house: House
) -> None:
    people.project(engine, "ours")
    key = people.user(engine, "ada", "operator", "ours")
    job = house.job()
    house.set_job(job, project="ours")
    client.post(f"/v1/jobs/{job}/cancel", headers=bearer(key) | {"X-Request-ID": "r-17"})
    line = lines(client)[0]
    assert line.pop("id")
    assert line.pop("at")
    assert line == {
        "user": "ada",
        "key": key.id,
        "role": "operator",
        "action": "jobs.cancel",
        "target": job,
        "detail": None,
        "project": "ours",
        "outcome": "ok",
        "status": None,
        "address": "testclient",
        "request": "r-17",
    }


def test_a_submit_names_the_job_that_it_made(
    client: TestClient, tiny_job: Callable[..., Json]
) -> None:
    job = client.post("/v1/jobs", json=tiny_job()).json()["id"]
    line = lines(client)[0]
    assert (line["action"], line["target"], line["project"]) == ("jobs.create", job, "default")


def test_what_changed_about_a_user_is_said(client: TestClient) -> None:
    client.post("/v1/users", json={"name": "ada", "role": "viewer"})
    client.patch("/v1/users/ada", json={"role": "admin", "disabled": True})
    change, made = lines(client)[:2]
    assert (change["target"], change["detail"]) == ("ada", "role viewer -> admin, disabled")
    assert (made["action"], made["detail"]) == ("users.create_user", "role viewer")


def test_refused_writes_are_noted_and_reads_are_not(
    client: TestClient, engine: Engine, house: House
) -> None:
    viewer = people.user(engine, "vi", "viewer")
    job = house.job()
    before = len(lines(client, limit=500))
    client.get("/v1/jobs", headers=bearer("wrong"))
    client.get(f"/v1/jobs/{job}", headers=bearer(viewer))
    assert len(lines(client, limit=500)) == before
    client.post(f"/v1/jobs/{job}/cancel", headers=bearer("wrong"))
    client.post(f"/v1/jobs/{job}/cancel", headers=bearer(viewer))
    client.post(f"/v1/jobs/{job}/cancel", headers=as_worker())
    client.post("/v1/assignments/claim", json={"worker": "w"}, headers=bearer(viewer))
    seen = [(each["user"], each["role"], each["outcome"], each["status"]) for each in lines(client)]
    assert seen[:4] == [
        ("vi", "viewer", "forbidden", 403),
        (None, "worker", "forbidden", 403),
        ("vi", "viewer", "forbidden", 403),
        (None, None, "unauthorized", 401),
    ]


def test_what_is_hidden_or_impossible_is_noted_as_such(
    client: TestClient, engine: Engine, house: House
) -> None:
    people.project(engine, "theirs")
    job = house.job()
    house.set_job(job, project="theirs", state="done")
    outside = people.user(engine, "out")
    client.post(f"/v1/jobs/{job}/cancel", headers=bearer(outside))
    client.post(f"/v1/jobs/{job}/cancel")
    over, hidden = lines(client)[:2]
    assert (hidden["user"], hidden["outcome"], hidden["project"]) == ("out", "not-found", None)
    assert (over["user"], over["outcome"], over["project"]) == ("admin", "conflict", "theirs")


def test_an_action_that_is_rolled_back_leaves_no_line_that_says_ok(
    client: TestClient,
    engine: Engine,
    tiny_job: Callable[..., Json],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("between the row and the commit")

    monkeypatch.setattr(jobs.jobs, "add_clients", broken)
    assert client.post("/v1/jobs", json=tiny_job()).status_code == 500
    with reading(engine) as session:
        counted = select(func.count(Job.id)).scalar_subquery()
        assert session.scalar(select(counted)) == 0
        assert session.scalar(select(func.count()).where(Audit.action == "jobs.create")) == 0


def test_an_action_whose_line_cannot_be_written_does_not_happen(
    client: TestClient, engine: Engine, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = house.job()

    def full(*_: Any) -> None:
        raise RuntimeError("no line")

    monkeypatch.setattr("api.db.session.audit.join", full)
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 500
    assert house.get(job).state == "queued"


def test_members_read_the_lines_of_their_projects_alone(client: TestClient, engine: Engine) -> None:
    for name in ("ours", "theirs"):
        client.post("/v1/projects", json={"name": name})
    ours = bearer(people.user(engine, "ada", "viewer", "ours"))
    seen = client.get("/v1/audit", headers=ours).json()["items"]
    assert [line["project"] for line in seen] == ["ours"]
    assert client.get("/v1/audit?project=theirs", headers=ours).status_code == 404
    assert [line["project"] for line in lines(client, project="theirs")] == ["theirs"]
    assert {line["user"] for line in lines(client, user="admin")} == {"admin"}
    assert lines(client, user="nobody") == []


def test_the_log_is_read_page_by_page(client: TestClient) -> None:
    for number in range(5):
        client.post("/v1/projects", json={"name": f"p{number}"})
    seen: list[str] = []
    after = None
    while True:
        query = {"limit": 2} | ({"after": after} if after else {})
        page = client.get("/v1/audit", params=query).json()
        seen += [line["target"] for line in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == ["p4", "p3", "p2", "p1", "p0"]


def test_no_secret_gets_into_the_log_or_the_events(
    client: TestClient, engine: Engine, house: House
) -> None:
    new = client.post("/v1/keys", json={"label": "x"}).json()["key"]
    pasted = [client.delete(f"/v1/keys/{new}{more}") for more in ("", "%00")]
    client.post("/v1/users", json={"name": "u"}, headers={"X-Request-ID": new})
    house.open_job()
    seat = house.claim()
    house.give_back(seat, f"no answer from postgresql://u:pass-phrase@db/x with {new}")
    with reading(engine) as session:
        audit = [str(vars(row)) for row in session.scalars(select(Audit))]
        events = [event.text for event in session.scalars(select(Event))]
    written = " ".join([*audit, *events, *(answer.text for answer in pasted)])
    assert len(audit) >= 3
    assert "postgresql://u:***@db/x" in written
    for secret in (new, new.split("_", 2)[2], WORKER_KEY, "pass-phrase", seat.lease_token):
        assert secret not in written
