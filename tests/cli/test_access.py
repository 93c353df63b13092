from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

Fedkrso = Callable[..., Result]
ID = "5f0c6a1be2d34790"
SECRET = f"fk_{ID}_" + "x" * 43
KEY = {
    "id": ID,
    "prefix": f"fk_{ID}",
    "role": "user",
    "user": "ada",
    "label": "laptop [red]",
    "state": "valid",
    "created_at": "2026-01-02T03:04:05Z",
    "last_used_at": None,
    "expires_at": "2027-01-02T03:04:05Z",
}
PROJECT = {"name": "reviews", "members": ["ada"], "open_jobs": 2, "max_open_jobs": 9}


def test_a_new_key_is_printed_alone_so_that_a_script_can_take_it(
    api: Any, fedkrso: Fedkrso
) -> None:
    api.on("POST /v1/keys", KEY | {"key": SECRET}, 201)
    done = fedkrso("keys", "create", "--label", "laptop", "--days", "30")
    assert (done.exit_code, done.stdout) == (0, SECRET + "\n")
    assert "shown once" in done.stderr
    body = {"label": "laptop", "role": "user", "user": None, "expires_in_s": 2_592_000}
    assert json.loads(api.asked[0].body) == body


def test_keys_are_listed_with_when_they_were_used(api: Any, fedkrso: Fedkrso) -> None:
    api.on("GET /v1/keys", {"items": [KEY]})
    line = fedkrso("keys", "list").stdout.splitlines()[1].split()
    assert line == [ID, "user", "ada", "laptop", "[red]", "valid", "2026-01-02", "-", "2027-01-02"]
    assert json.loads(fedkrso("keys", "list", "--json").stdout) == {"items": [KEY]}
    fedkrso("keys", "list", "--user", "bob")
    assert api.asked[-1].path == "/v1/keys?user=bob"


@pytest.mark.parametrize("given", [ID, f"fk_{ID}", SECRET])
def test_a_key_is_revoked_by_its_id_and_a_whole_key_gets_into_no_address(
    api: Any, fedkrso: Fedkrso, given: str
) -> None:
    api.on(f"DELETE /v1/keys/{ID}", KEY | {"state": "revoked"})
    assert fedkrso("keys", "revoke", given).stdout == f"{ID}  revoked\n"
    assert [asked.path for asked in api.asked] == [f"/v1/keys/{ID}"]


def test_a_key_is_rotated_with_a_grace(api: Any, fedkrso: Fedkrso) -> None:
    api.on(f"POST /v1/keys/{ID}/rotate", KEY | {"key": SECRET}, 201)
    assert fedkrso("keys", "rotate", ID, "--grace-hours", "2").stdout == SECRET + "\n"
    assert json.loads(api.asked[0].body) == {"grace_s": 7200}


def test_users_are_made_changed_and_listed(api: Any, fedkrso: Fedkrso) -> None:
    user = {"name": "ada", "role": "viewer", "disabled": False, "projects": ["reviews"]}
    api.on("POST /v1/users", user, 201)
    api.on("PATCH /v1/users/ada", user | {"disabled": True})
    api.on("GET /v1/users", {"items": [user, user | {"name": "root", "projects": None}]})
    assert fedkrso("users", "create", "ada", "--role", "viewer").stdout == "ada  viewer\n"
    assert fedkrso("users", "change", "ada", "--disable").stdout == "ada  viewer  disabled\n"
    assert json.loads(api.asked[1].body) == {"role": None, "disabled": True}
    rows = [line.split() for line in fedkrso("users", "list").stdout.splitlines()[1:]]
    assert rows == [["ada", "viewer", "enabled", "reviews"], ["root", "viewer", "enabled", "all"]]
    assert fedkrso("users", "create", "x", "--role", "king").exit_code == 2


def test_projects_and_their_members(api: Any, fedkrso: Fedkrso) -> None:
    api.on("POST /v1/projects", PROJECT, 201)
    api.on("PUT /v1/projects/reviews/members/ada", PROJECT)
    api.on("DELETE /v1/projects/reviews/members/ada", PROJECT | {"members": []})
    api.on("DELETE /v1/projects/reviews", b"", 204)
    api.on("GET /v1/projects", {"items": [PROJECT]})
    api.on("PATCH /v1/projects/reviews", PROJECT)
    assert fedkrso("projects", "create", "reviews").stdout == "reviews  2/9 open  ada\n"
    assert fedkrso("projects", "add", "reviews", "ada").exit_code == 0
    assert "no members" in fedkrso("projects", "drop", "reviews", "ada").stdout
    assert fedkrso("projects", "change", "reviews", "--max-open-jobs", "9").exit_code == 0
    assert fedkrso("projects", "remove", "reviews").stdout == "reviews  removed\n"
    assert fedkrso("projects", "list").stdout.splitlines()[1].split() == [
        "reviews",
        "2",
        "9",
        "ada",
    ]


def test_the_audit_log_and_oneself(api: Any, fedkrso: Fedkrso) -> None:
    line = {
        "at": "2026-01-02T03:04:05.678Z",
        "user": None,
        "role": "worker",
        "action": "jobs.cancel",
        "target": "0a1b",
        "project": "reviews",
        "outcome": "forbidden",
        "detail": None,
        "address": "127.0.0.1",
    }
    api.on("GET /v1/audit", {"items": [line], "next": None})
    shown = fedkrso("audit", "--project", "reviews", "--limit", "5").stdout.splitlines()[1].split()
    assert shown[:2] + shown[2:6] == [
        "2026-01-02", "03:04:05", "worker", "jobs.cancel", "0a1b", "reviews",
    ]  # fmt: skip
    assert api.asked[-1].path == "/v1/audit?project=reviews&limit=5"
    api.on("GET /v1/me", {"user": "ada", "role": "operator", "projects": ["a", "b"], "key": KEY})
    assert fedkrso("me").stdout == f"ada  operator  projects: a, b  key: {ID}\n"


def test_a_job_is_sent_into_a_project(
    api: Any, fedkrso: Fedkrso, make_job: Any, tmp_path: Any
) -> None:
    (tmp_path / "job.yaml").write_text("name: demo\n")
    api.on("POST /v1/jobs", make_job(project="reviews"), 201)
    api.on("GET /v1/jobs", {"items": [make_job(project="reviews")], "next": None})
    assert fedkrso("submit", "job.yaml", "--project", "reviews").exit_code == 0
    assert api.asked[0].path == "/v1/jobs?project=reviews"
    assert "reviews" in fedkrso("jobs", "--project", "reviews").stdout


def test_a_refusal_is_one_readable_line(api: Any, fedkrso: Fedkrso) -> None:
    api.problem("GET /v1/users", 403, "your role is 'viewer'", [])
    done = fedkrso("users", "list")
    assert (done.exit_code, done.stderr.strip()) == (1, "your role is 'viewer'")
