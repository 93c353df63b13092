"""A round's clients as bars of a Gantt chart, and who stands out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.job_views import extremes
from dashboard.timeline import MOST, caption, timeline_frame
from dashboard.timeline_figure import timeline_figure

Json = dict[str, Any]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


NOW = START + timedelta(seconds=30)


def seat(client: int = 7, state: str = "done", **changed: Any) -> Json:
    """Offered at once, leased after 2 s, 8 s of training in 12, a third of the bytes up."""
    return {
        "client": client,
        "state": state,
        "attempt": 1,
        "step": 4,
        "steps": 10,
        "offered_at": at(0),
        "leased_at": at(2),
        "heartbeat_at": at(13),
        "done_at": at(14) if state == "done" else None,
        "seconds": {"train": 8.0},
        "bytes_up": 100,
        "bytes_down": 200,
        "metrics": {"loss": 0.5},
        "peak_memory_bytes": 300_000_000,
        **changed,
    }


def bars(*seats: Json, events: Any = ()) -> list[tuple[str, float, float]]:
    frame = timeline_frame(seats, events, 1, NOW)
    return [(row.phase, round(row.start, 2), round(row.end, 2)) for row in frame.itertuples()]


def test_a_client_that_is_done_has_waited_downloaded_trained_and_uploaded() -> None:
    assert bars(seat()) == [
        ("waiting", 0, 2),
        ("downloading", 2, 4.67),
        ("training", 4.67, 12.67),
        ("uploading", 12.67, 14),
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"state": "leased"}, [("waiting", 0, 2), ("training", 2, 30)]),
        ({"state": "leased", "step": 0}, [("waiting", 0, 2), ("downloading", 2, 30)]),
        ({"state": "leased", "step": 10}, [("waiting", 0, 2), ("uploading", 2, 30)]),
        ({"state": "failed"}, [("waiting", 0, 2), ("failed", 2, 13)]),
        ({"state": "pending", "leased_at": None, "attempt": 0}, [("waiting", 0, 30)]),
        ({"state": "cancelled", "leased_at": None, "attempt": 0}, []),
    ],
)
def test_a_client_at_work_is_drawn_until_now(changed: Json, expected: Any) -> None:
    assert bars(seat(**changed)) == expected


def test_an_attempt_that_was_lost_is_drawn_from_its_lease_to_its_loss() -> None:
    again = seat(attempt=2, leased_at=at(20), done_at=at(28))
    found = bars(again, events=lost_lease(1))
    assert ("lost", 1, 19) in [(phase, start + 1, end + 1) for phase, start, end in found]
    assert "waiting" not in [phase for phase, _, _ in found]


def test_what_was_lost_in_another_round_is_not_drawn() -> None:
    assert "lost" not in [phase for phase, _, _ in bars(seat(), events=lost_lease(2))]


def lost_lease(number: int) -> list[Json]:
    data = {"client": 7, "round": number}
    return [
        {"id": 1, "kind": "leased", "at": at(1), "data": data},
        {"id": 2, "kind": "lease-lost", "at": at(19), "data": data},
    ]


def test_of_many_clients_those_are_drawn_that_took_longest() -> None:
    seats = [seat(client, done_at=at(14 + client / 10)) for client in range(MOST + 10)]
    frame = timeline_frame(seats, [], 1, NOW)
    assert set(frame["client"]) == set(range(10, MOST + 10))
    text = caption(frame, seats)
    assert text.startswith("50 clients: 50 done. The longest is client 49: 18s")
    assert f"Shown are the {MOST}" in text


def test_the_chart_has_a_row_for_each_client_and_only_the_phases_that_there_are() -> None:
    seats = [seat(1), seat(2)]
    chart = timeline_figure(timeline_frame(seats, [], 1, NOW), seats).chart.to_dict()
    assert chart["encoding"]["y"]["field"] == "client"
    assert chart["encoding"]["color"]["scale"]["domain"] == [
        "waiting",
        "downloading",
        "training",
        "uploading",
    ]


def test_before_anybody_begins_the_chart_is_empty_and_says_so() -> None:
    frame = timeline_frame([], [], 1, NOW)
    assert timeline_figure(frame, []).caption == "No client has begun yet."


def test_who_stands_out_is_named() -> None:
    slow = seat(9, done_at=at(20), metrics={"loss": 0.9}, peak_memory_bytes=400_000_000)
    assert extremes([seat(), slow]) == [
        "Highest loss in training: client 9 with 0.900",
        "Slowest: client 9 with 18s",
        "Most memory: client 9 with 400 MB",
    ]
    held_out = seat(holdout={"loss": 2.0})
    assert extremes([held_out, slow])[0] == "Highest loss on its own hold-out: client 7 with 2.000"


def test_one_client_does_not_stand_out() -> None:
    assert extremes([seat()]) == []
