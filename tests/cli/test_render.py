from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cli.render import Board, board, jobs_table, measure, round_line, rounds_table, size

Make = Callable[..., dict[str, Any]]


def text_of(renderable: RenderableType) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (2_500_000_000, "2.5 GB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count: int | None, shown: str) -> None:
    assert size(count) == shown


def test_a_metric_that_was_not_measured_is_a_dash() -> None:
    assert (measure(None), measure(0.61249)) == ("-", "0.612")


def test_a_round_is_one_line_with_every_column(make_round: Make) -> None:
    assert round_line(make_round(1)) == (
        "round 1  accuracy 0.625  loss 1.250  up 750.0 kB  down 1.2 MB"
        "  peak memory 300.0 MB  seconds 3.5"
    )


def test_a_round_without_evaluation_still_has_a_row(make_round: Make) -> None:
    row = text_of(rounds_table([make_round(7, metrics={}, seconds={})])).splitlines()[1].split()
    assert row[:3] == ["7", "-", "-"]
    assert row[-1] == "0.0"


def test_the_board_shows_the_job_and_its_open_round(make_round: Make) -> None:
    job = Board(
        name="demo",
        state="running",
        rounds=6,
        closed=[make_round(1), make_round(2)],
        open_round=3,
        clients=4,
        clients_done=1,
        steps=40,
        steps_done=17,
        note="waiting for client 7",
    )
    shown = text_of(board(job))
    for part in ("2/6 rounds", "round 3", "1/4 clients", "17/40 steps", "waiting for client 7"):
        assert part in shown


def test_the_board_keeps_only_the_rounds_that_fit(make_round: Make) -> None:
    job = Board("demo", "running", 9, closed=[make_round(number) for number in range(1, 6)])
    rows = text_of(board(job, rows=2)).splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["4", "5"]


def test_a_name_in_brackets_is_not_markup(make_job: Make) -> None:
    assert "[red]x" in text_of(jobs_table([make_job(name="[red]x")]))


def test_the_headline_is_the_tasks(make_round: Make, make_job: Make) -> None:
    round_ = make_round(1, metrics={"perplexity": 12.5, "loss": 2.526})
    assert round_line(round_, "perplexity").startswith("round 1  perplexity 12.500  loss 2.526")
    job = Board("lm", "running", 2, closed=[round_], metric="perplexity")
    assert "perplexity" in text_of(board(job))
    metrics = {"headline": "perplexity", "metrics": {"perplexity": 12.5}}
    assert "perplexity 12.500" in text_of(jobs_table([make_job(**metrics)]))
    assert "accuracy 0.625" in text_of(jobs_table([make_job()]))
