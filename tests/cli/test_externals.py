from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Fedkrso = Callable[..., Result]
ROW = {
    "id": "9c1d2e3f4a5b6c7d",
    "name": "hospital-a",
    "project": "default",
    "labels": {"site": "eu"},
    "state": "active",
    "offences": 0,
    "created_at": "2026-01-02T03:04:05Z",
    "heartbeat_at": "2026-01-02T03:05:06Z",
    "version": "0.1.0",
    "hardware": {"device": "cpu", "free_memory_bytes": 2**31, "threads": 2},
    "keys": [],
}
TOKEN = "fi_5f0c6a1be2d34790_" + "x" * 43
KEY = "fk_5f0c6a1be2d34790_" + "y" * 43


def test_a_token_is_printed_alone_so_that_a_script_can_take_it(api: Any, fedkrso: Fedkrso) -> None:
    api.on("POST /v1/invitations", {"token": TOKEN}, 201)
    done = fedkrso("client", "invite", "--label", "site=eu", "--days", "2", "--project", "p")
    assert (done.exit_code, done.stdout) == (0, TOKEN + "\n")
    body = {"labels": {"site": "eu"}, "expires_in_s": 172_800, "project": "p"}
    assert json.loads(api.asked[0].body) == body
    assert fedkrso("client", "invite", "--label", "site").exit_code == 2


def test_an_enrolment_keeps_the_key_in_a_file_for_its_owner_alone(
    api: Any, fedkrso: Fedkrso, home_path: Path
) -> None:
    api.on("POST /v1/enrolments", {"client": ROW, "key": KEY}, 201)
    api.on("PUT /v1/client", ROW)
    done = fedkrso("client", "enrol", "--token", TOKEN, "--name", "hospital-a")
    assert done.exit_code == 0, done.stderr
    assert KEY not in done.output
    file = home_path / "client.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["key"] == KEY
    enrolment, hello = api.asked
    assert enrolment.headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(enrolment.body)["hardware"]["threads"] >= 1
    assert hello.headers["Authorization"] == f"Bearer {KEY}"
    again = fedkrso("client", "enrol", "--token", TOKEN, "--name", "hospital-a")
    assert (again.exit_code, "--force" in again.stderr) == (1, True)


def test_a_key_is_rotated_in_its_file(api: Any, fedkrso: Fedkrso, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    old = {"server": api.url, "id": ROW["id"], "name": "a", "project": "default", "key": "fk_old"}
    file.write_text(json.dumps(old))
    file.chmod(0o644)
    refused = fedkrso("client", "rotate", "--file", file)
    assert (refused.exit_code, "chmod 600" in refused.stderr) == (2, True)
    file.chmod(0o600)
    api.on("POST /v1/client/rotate", {"client": ROW, "key": KEY}, 201)
    assert fedkrso("client", "rotate", "--file", file, "--grace-hours", "1").exit_code == 0
    assert json.loads(api.asked[0].body) == {"grace_s": 3600}
    assert json.loads(file.read_text())["key"] == KEY


@pytest.mark.parametrize("given", [ROW["id"], "hospital-a"])
def test_a_client_is_revoked_by_its_name_or_id(api: Any, fedkrso: Fedkrso, given: str) -> None:
    api.on("GET /v1/clients", {"items": [ROW, {**ROW, "id": "f" * 16, "name": "b"}]})
    api.on(f"DELETE /v1/clients/{ROW['id']}", {**ROW, "state": "revoked"})
    assert fedkrso("client", "revoke", given).stdout == "hospital-a  revoked  site=eu\n"


def test_a_name_of_two_projects_must_be_told_apart(api: Any, fedkrso: Fedkrso) -> None:
    api.on("GET /v1/clients", {"items": [ROW, {**ROW, "id": "f" * 16, "project": "other"}]})
    done = fedkrso("client", "revoke", "hospital-a")
    assert done.exit_code == 1
    assert [line.split()[0] for line in done.stderr.splitlines()[1:]] == [ROW["id"], "f" * 16]


def test_clients_and_invitations_are_listed(api: Any, fedkrso: Fedkrso) -> None:
    api.on("GET /v1/clients", {"items": [ROW]})
    line = fedkrso("client", "list").stdout.splitlines()[1].split()
    assert line == [ROW["id"], "hospital-a", "default", "site=eu", "active", "0", "cpu", "2", "2.0",
                    "GiB", "0.1.0", "2026-01-02", "03:05:06"]  # fmt: skip
    row = {"id": "5f0c6a1be2d34790", "project": "default", "labels": {}, "state": "used",
           "created_by": "ada", "created_at": "2026-01-02T03:04:05Z",
           "expires_at": "2026-01-09T03:04:05Z", "client": ROW["id"]}  # fmt: skip
    api.on("GET /v1/invitations", {"items": [row]})
    shown = fedkrso("client", "invitations").stdout.splitlines()[1].split()
    assert shown == ["5f0c6a1be2d34790", "default", "-", "used", "ada", "2026-01-02",
                     "2026-01-09", ROW["id"]]  # fmt: skip


def test_labels_are_given_by_name(api: Any, fedkrso: Fedkrso) -> None:
    api.on("GET /v1/clients", {"items": [ROW]})
    api.on(f"PATCH /v1/clients/{ROW['id']}", {**ROW, "labels": {"site": "us"}})
    done = fedkrso("client", "label", "hospital-a", "--label", "site=us")
    assert done.stdout == "hospital-a  active  site=us\n"
    assert json.loads(api.asked[1].body) == {"labels": {"site": "us"}}


def test_who_joined_a_job_who_refuses_and_who_is_missing(
    api: Any, fedkrso: Fedkrso, make_job: Any
) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job())
    api.on("GET /v1/jobs", {"items": [make_job()], "next": None})
    items = [{"client": 4, "name": "a", "num_examples": 90, "present": True, "status": None,
              "heartbeat_at": "2026-01-02T03:04:05Z"}]  # fmt: skip
    refusals = [{"name": "b", "reason": "too much memory", "at": "2026-01-02T03:04:05Z"}]
    lacks = "external clients: 1 of 2 have joined"
    found = {"items": items, "refusals": refusals, "places": 1, "lacks": lacks}
    api.on("GET /v1/jobs/0a1b2c3d/externals", found)
    lines = fedkrso("client", "joined", "0a1b2c3d").stdout.splitlines()
    assert lines[1].split()[:5] == ["4", "a", "90", "takes", "part"]
    assert lines[2].split()[:6] == ["-", "b", "-", "refuses:", "too", "much"]
    assert lines[3] == f"waits for {lacks}"


def test_an_agent_needs_a_key_and_rows(api: Any, fedkrso: Fedkrso, home_path: Path) -> None:
    done = fedkrso("client", "run", "--data", "rows.jsonl")
    assert (done.exit_code, "enrol first" in done.stderr) == (1, True)
    home_path.mkdir()
    file = home_path / "client.json"
    own = {"server": api.url, "id": ROW["id"], "name": "a", "project": "default", "key": KEY}
    file.write_text(json.dumps(own))
    file.chmod(0o600)
    done = fedkrso("client", "run", "--data", "rows.jsonl")
    assert (done.exit_code, "there is no file rows.jsonl" in done.stderr) == (2, True)
    Path("rows.csv").write_text("note,code\na,b\n")
    done = fedkrso("client", "run", "--data", "rows.csv")
    assert (done.exit_code, "no column 'text'; it has: note, code" in done.stderr) == (1, True)
    assert KEY not in done.output
    assert api.asked == []


def test_an_agent_whose_key_is_void_ends_with_the_reason(
    api: Any, fedkrso: Fedkrso, home_path: Path
) -> None:
    home_path.mkdir()
    file = home_path / "client.json"
    own = {"server": api.url, "id": ROW["id"], "name": "a", "project": "default", "key": KEY}
    file.write_text(json.dumps(own))
    file.chmod(0o600)
    Path("rows.csv").write_text("note,code\na,b\n")
    api.problem("PUT /v1/client", 401, "the API key is unknown or revoked", [])
    api.on("POST /v1/assignments/gone", {"jobs": []})
    done = fedkrso("client", "run", "--data", "rows.csv", "--text", "note", "--label", "code")
    assert (done.exit_code, "the API key is unknown or revoked" in done.stderr) == (1, True)
