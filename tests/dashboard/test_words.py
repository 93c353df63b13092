"""Numbers, times and states in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard import words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (3_240_000, "3.2 MB"), (101e6, "101 MB")],
)
def test_a_size_reads_in_the_unit_that_fits(number: float, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42s"), (185, "3m 05s"), (7_440, "2h 04m"), (-3, "0s")]
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, "—"), (0.0812, "0.081s"), (7.25, "7.2s"), (185.0, "3m 05s")]
)
def test_parts_of_a_second_count_where_there_are_few(number: float | None, text: str) -> None:
    assert words.seconds(number) == text


def test_an_age_names_its_largest_unit() -> None:
    assert words.ago((NOW - timedelta(minutes=3, seconds=50)).isoformat(), NOW) == "3 min ago"
    assert words.ago("2026-03-01T11:59:48Z", NOW) == "12 s ago"


def test_a_time_without_a_zone_is_utc() -> None:
    assert words.when("2026-03-01T12:00:00") == NOW


def test_a_clock_that_runs_behind_gives_no_negative_age() -> None:
    assert words.ago((NOW + timedelta(seconds=9)).isoformat(), NOW) == "0 s ago"


def test_progress_names_the_round_that_runs() -> None:
    job = {"rounds": 6, "rounds_closed": 3, "state": "running"}
    assert words.progress(job) == (0.5, "round 4 of 6")


def test_progress_of_a_finished_job_counts_closed_rounds() -> None:
    job = {"rounds": 6, "rounds_closed": 6, "state": "done"}
    assert words.progress(job) == (1.0, "6 of 6 rounds")


def test_a_job_that_its_budget_ended_says_so() -> None:
    job = {"rounds": 6, "rounds_closed": 3, "state": "done", "reason": "budget.seconds: used"}
    assert words.progress(job) == (0.5, "3 of 6 rounds, stopped")
    assert words.stopped(job) == "Stopped: budget.seconds: used"
    assert words.stopped({**job, "state": "failed"}) == ""
    assert words.stopped({**job, "reason": None}) == ""


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ({"state": "pending", "attempt": 0}, "waiting for a worker"),
        ({"state": "pending", "attempt": 1}, "waiting for a worker, will be tried again"),
        ({"state": "leased", "step": 0, "steps": 9}, "downloading, heard 4 s ago"),
        ({"state": "leased", "step": 4, "steps": 9}, "training, step 4 of 9, heard 4 s ago"),
        ({"state": "leased", "step": 9, "steps": 9}, "uploading, heard 4 s ago"),
        ({"state": "done"}, "done, update accepted"),
        ({"state": "failed", "error": "out of memory"}, "failed: out of memory"),
        ({"state": "cancelled"}, "cancelled"),
        ({"state": "cancelled", "error": "another model"}, "cancelled: another model"),
    ],
)
def test_what_a_client_does_is_said_in_words(client: dict[str, Any], text: str) -> None:
    beat = (NOW - timedelta(seconds=4)).isoformat()
    assert words.doing({**client, "heartbeat_at": beat}, NOW) == text


def test_what_a_job_waits_for_is_a_sentence() -> None:
    job = {"state": "running", "waiting_for": "client 7"}
    assert words.waiting(job) == "Waiting for client 7"
    assert words.waiting({**job, "waiting_for": "waiting for client 7"}) == "waiting for client 7"
    assert words.waiting({**job, "state": "done"}) == ""


def test_an_address_in_a_text_can_still_be_copied() -> None:
    assert "\u200b" not in words.plain("at http://127.0.0.1:8000: refused")


def test_text_of_others_is_no_markdown() -> None:
    assert words.plain("![x](http://a.b) :material/home:\n*b*") == (
        r"\!\[x\]\(http\://a\.b\) " + "\\:\u200b" + r"material/home\: \*b\*"
    )


def test_of_many_things_a_job_waits_for_some_are_named() -> None:
    job = {"waiting": [{"what": f"client {number}"} for number in range(200)]}
    named = words.waits(job, NOW)
    assert named[-2:] == ["client 19", "180 more"]
