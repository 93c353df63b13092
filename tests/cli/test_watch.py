from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from cli.client import ApiClient, ServerAway
from cli.display import LineDisplay, LiveDisplay, display_on
from cli.errors import CliError
from cli.render import Board
from cli.watch import board_of, early_end, follow, require_done, snapshot

Make = Callable[..., dict[str, Any]]


def plain() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=120), file


def running_then_done(api: Any, make_job: Make, make_round: Make) -> None:
    """One round is closed and one open; then both are closed."""
    api.on("GET /v1/jobs/j", make_job(state="running", rounds_closed=1))
    api.on("GET /v1/jobs/j", make_job())
    first, second = make_round(1), make_round(2)
    open_round = make_round(2, state="collecting", metrics={})
    api.on("GET /v1/jobs/j/rounds", {"items": [first, open_round]})
    api.on("GET /v1/jobs/j/rounds", {"items": [first, second]})
    clients = [
        {"client": 0, "state": "done", "step": 0, "steps": 10},
        {"client": 1, "state": "leased", "step": 4, "steps": 10},
    ]
    api.on("GET /v1/jobs/j/rounds/2/clients", {"items": clients})


def test_a_board_counts_the_clients_and_steps_of_the_open_round(
    api: Any, make_job: Make, make_round: Make
) -> None:
    running_then_done(api, make_job, make_round)
    with ApiClient(api.url, None) as client:
        board = board_of(snapshot(client, "j"))
    assert (board.open_round, len(board.closed)) == (2, 1)
    assert (board.clients_done, board.clients) == (1, 2)
    assert (board.steps_done, board.steps) == (14, 20)


def test_without_a_terminal_each_round_is_a_line_and_the_table_comes_last(
    api: Any, make_job: Make, make_round: Make
) -> None:
    running_then_done(api, make_job, make_round)
    console, file = plain()
    with ApiClient(api.url, None) as client:
        end = follow(client, "j", display_on(console), poll_s=0.01)
    assert end.job["state"] == "done"
    lines = file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["round 1", "round 2"]
    assert lines[2].split()[0] == "round"
    assert [line.split()[0] for line in lines[3:]] == ["1", "2"]


def test_the_line_of_a_round_waits_for_its_metrics(make_round: Make) -> None:
    console, out = plain()
    display = LineDisplay(console)
    due = {**make_round(1), "metrics": {}, "evaluation": "due"}
    display.show(Board("j", "running", 2, closed=[due]))
    assert out.getvalue() == ""
    display.show(Board("j", "running", 2, closed=[make_round(1), {**due, "round": 2}]))
    assert out.getvalue().count("round") == 1
    assert "accuracy" in out.getvalue()


def test_a_terminal_gets_a_live_display_that_leaves_the_table(
    api: Any, make_job: Make, make_round: Make
) -> None:
    running_then_done(api, make_job, make_round)
    file = io.StringIO()
    console = Console(file=file, width=120, force_terminal=True, _environ={"TERM": "xterm"})
    display = display_on(console)
    assert isinstance(display, LiveDisplay)
    with ApiClient(api.url, None) as client:
        follow(client, "j", display, poll_s=0.01)
    assert "2/2 rounds" in file.getvalue().splitlines()[-4]


def test_a_server_that_restarts_is_waited_for_and_said_once(
    api: Any, make_job: Make, make_round: Make
) -> None:
    for _ in range(3):
        api.on("GET /v1/jobs/j", {}, 503)
    api.on("GET /v1/jobs/j", make_job())
    api.on("GET /v1/jobs/j/rounds", {"items": [make_round(1)]})
    console, file = plain()
    with ApiClient(api.url, None) as client:
        follow(client, "j", LineDisplay(console), poll_s=0.01)
    assert file.getvalue().count("not ready; asking again for 120 s") == 1


def test_a_server_that_stays_away_is_given_up(api: Any) -> None:
    api.on("GET /v1/jobs/j", {}, 503)
    console, _ = plain()
    with ApiClient(api.url, None) as client, pytest.raises(ServerAway):
        follow(client, "j", LineDisplay(console), poll_s=0.01, patience_s=0.05)


def test_a_failed_job_is_an_error_with_its_reason(make_job: Make) -> None:
    require_done(make_job())
    with pytest.raises(CliError, match=r"job demo \(0a1b2c3d\) failed: no quorum in round 2"):
        require_done(make_job(state="failed", reason="no quorum in round 2"))


def test_a_job_that_its_budget_ended_is_done_and_says_why(make_job: Make) -> None:
    reason = "budget.seconds: 61 s of 60 s used"
    stopped = make_job(rounds=6, rounds_closed=3, reason=reason)
    require_done(stopped)
    assert early_end(stopped) == f"stopped after round 3 of 6: {reason}"
    assert early_end(make_job()) is None
    assert early_end(make_job(state="failed", reason="no quorum")) is None
