from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

from cli.display import LineDisplay
from cli.errors import CliError
from cli.life import changes_of
from cli.local import without_service
from cli.render import Board
from cli.waiting import waiting_lines
from fedkrso_core.spec import parse

Make = Callable[..., dict[str, Any]]
Fedkrso = Callable[..., Result]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("act", "state"), [("pause", "paused"), ("resume", "running"), ("retry", "queued")]
)
def test_a_command_moves_the_job_and_prints_its_state(
    fedkrso: Fedkrso, api: Any, make_job: Make, act: str, state: str
) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job(state="running"))
    api.on(f"POST /v1/jobs/0a1b2c3d/{act}", make_job(state=state))
    assert fedkrso(act, "0a1b2c3d").stdout == f"0a1b2c3d  demo  {state}\n"
    assert json.loads(fedkrso(act, "0a1b2c3d", "--json").stdout)["state"] == state


def test_a_priority_is_sent(
    fedkrso: Fedkrso, api: Any, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job(state="running"))
    api.on("PATCH /v1/jobs/0a1b2c3d", make_job(state="running"))
    assert fedkrso("prioritize", "0a1b2c3d", "5").exit_code == 0
    assert json.loads(api.asked[-1].body) == {"priority": 5}
    assert fedkrso("prioritize", "0a1b2c3d", "5000").exit_code == 2


def test_a_clone_is_sent_with_its_changes(fedkrso: Fedkrso, api: Any, make_job: Make) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job())
    api.on("POST /v1/jobs/0a1b2c3d/clone", make_job(id="ffff", state="queued"), 201)
    words = ["--set", "local.lr=0.01", "--set", "seed=3", "--name", "007"]
    assert fedkrso("clone", "0a1b2c3d", *words).stdout == "ffff  demo  queued\n"
    assert json.loads(api.asked[-1].body) == {"local": {"lr": 0.01}, "seed": 3, "name": "007"}


@pytest.mark.parametrize("words", [["seed"], ["=1"], ["local=1", "local.lr=2"], ["seed={"]])
def test_a_change_that_is_none_is_refused(words: list[str]) -> None:
    with pytest.raises(CliError, match="write FIELD=VALUE"):
        changes_of(words)


def test_each_thing_that_is_waited_for_has_its_times() -> None:
    waits = [
        {"what": "round 1", "since": "2026-03-01T11:59:20Z", "until": "2026-03-01T13:00:00Z"},
        {"what": "client 3", "since": "2026-03-01T11:50:00Z", "until": "2026-03-01T11:59:55Z"},
        {"what": "a worker", "since": None, "until": None},
        *[{"what": "more", "since": None}] * 3,
    ]
    assert waiting_lines(waits, NOW) == [
        "round 1 (for 40 s, 60 min left)",
        "client 3 (for 10 min, 5 s overdue)",
        "a worker",
        "more",
        "and 2 more",
    ]


def test_without_a_terminal_a_halt_is_told_once() -> None:
    file = io.StringIO()
    display = LineDisplay(Console(file=file, width=120))
    for state in ("running", "paused", "paused", "running"):
        display.show(Board("demo", state, 2, note="somebody to resume it (for 3 s)"))
    assert file.getvalue().splitlines() == [
        "demo paused: waits for somebody to resume it",
        "demo goes on",
    ]


def test_run_names_what_changes_nothing_in_one_process() -> None:
    plain = parse({"name": "x"})
    assert without_service(plain) is None
    asked = parse({"name": "x", "priority": 2, "clients": {"select_extra": 1}})
    said = without_service(asked)
    assert said is not None
    assert said.endswith("change nothing: clients.select_extra, priority")
