"""A budget: what cannot fit is refused with the numbers, what is used up is told with them."""

from collections.abc import Callable
from typing import Any

import pytest

from fedkrso_core.budget import Account, NextRound, Spent, is_limited, problems, upload_of, used_up
from fedkrso_core.forecast import Footprint, Forecast, Pace, RoundTraffic, Traffic
from fedkrso_core.sizes import parse_size, rounded_down, rounded_up
from fedkrso_core.spec import BudgetSpec

MB = 10**6


def forecast(uploads: tuple[int, ...] = (), memory: int = 0, seconds: float = 0.0) -> Forecast:
    """A job that uploads so much in each round, with a client of that memory."""
    rounds = [
        RoundTraffic(round=number, clients=4, bytes_up=up, bytes_down=0)
        for number, up in enumerate(uploads, 1)
    ]
    traffic = Traffic(
        rounds=rounds,
        bytes_up=sum(uploads),
        bytes_down=0,
        bytes_up_per_client=0,
        bytes_down_per_client=0,
    )
    parts = {"weights": 90 * MB, "gradients": 0, "optimizer": 0, "activations": 30 * MB}
    return Forecast(
        method="fedkrso",
        title="FedKRSO",
        traffic=traffic,
        memory=Footprint(**parts, peak=120 * MB, process=memory),
        pace=Pace(
            step_flops=0,
            seconds_per_step=0.0,
            seconds_per_round=seconds / max(len(uploads), 1),
            seconds=seconds,
            precision={},
        ),
    )


def test_a_budget_without_a_limit_finds_nothing() -> None:
    assert problems(BudgetSpec(), forecast((10 * MB,), 10**12, 1e9)) == []
    assert not is_limited(BudgetSpec())
    assert is_limited(BudgetSpec(seconds=1))


def test_a_job_that_just_fits_is_let_through() -> None:
    budget = BudgetSpec(bytes_up=30 * MB, memory=500 * MB, seconds=60)
    assert problems(budget, forecast((10 * MB,) * 3, 500 * MB, 60.0)) == []


def test_too_much_upload_is_told_with_what_would_fit() -> None:
    budget = BudgetSpec(bytes_up=50 * MB)
    (problem,) = problems(budget, forecast((10_530_000,) * 6))
    assert str(problem) == (
        "budget.bytes_up: 50.0 MB, but the job sends 63.2 MB: 6 rounds of about 10.6 MB; "
        "allowed: from 63.2 MB, or at most 4 rounds"
    )
    assert problem.value == 50 * MB


def test_too_much_upload_in_one_round_leaves_no_number_of_rounds() -> None:
    (problem,) = problems(BudgetSpec(bytes_up=MB), forecast((2 * MB,)))
    assert problem.message == (
        "1.0 MB, but the job sends 2.0 MB: 1 round of about 2.0 MB; allowed: from 2.0 MB"
    )


def test_too_much_memory_is_told_with_what_it_is_for() -> None:
    (problem,) = problems(BudgetSpec(memory=400 * MB), forecast((1,), 512_340_000))
    assert str(problem) == (
        "budget.memory: 400.0 MB, but a client will report about 512.4 MB, of it 120.0 MB in "
        "tensors (weights 90.0 MB, activations 30.0 MB); allowed: from 512.4 MB, or a smaller "
        "local.batch_size or local.max_length"
    )


def test_too_much_time_says_that_it_was_estimated_here() -> None:
    (problem,) = problems(BudgetSpec(seconds=60), forecast((1,) * 6, seconds=311.5))
    assert str(problem) == (
        "budget.seconds: 60 s, but training takes at least about 312 s, as estimated on this "
        "machine (52 s for each round, its clients side by side); allowed: from 312 s, or fewer "
        "rounds or local.steps"
    )


def test_every_limit_that_is_broken_is_told_at_once() -> None:
    found = problems(BudgetSpec(bytes_up=1, memory=1, seconds=0.1), forecast((2,), 2, 0.2))
    assert [problem.field for problem in found] == [
        "budget.bytes_up",
        "budget.memory",
        "budget.seconds",
    ]


def test_what_a_forecast_does_not_know_is_not_refused() -> None:
    unknown = Forecast(method="fedkrso", title="FedKRSO", refused="no reason")
    assert problems(BudgetSpec(bytes_up=1, memory=1, seconds=1), unknown) == []


BUDGET = BudgetSpec(bytes_up=50 * MB, memory=6000 * MB, seconds=600)
STOPS: dict[str, tuple[Spent, NextRound, str]] = {
    "the next round does not fit": (
        Spent(bytes_up=48_100_000),
        NextRound(5, bytes_up=10_500_000),
        "budget.bytes_up: 48.1 MB of 50.0 MB used; round 5 needs 10.5 MB",
    ),
    "uploads that came to nothing": (
        Spent(bytes_up=42 * MB, bytes_up_lost=11 * MB),
        NextRound(4, bytes_up=10 * MB),
        "budget.bytes_up: 42.0 MB of 50.0 MB used (11.0 MB of it refused or sent twice); "
        "round 4 needs 10.0 MB",
    ),
    "nothing is left, whatever the next round needs": (
        Spent(bytes_up=50 * MB),
        NextRound(5),
        "budget.bytes_up: 50.0 MB of 50.0 MB used",
    ),
    "a client had too much memory": (
        Spent(memory=6_210_000_000),
        NextRound(5),
        "budget.memory: a client reported 6.3 GB of 6.0 GB allowed",
    ),
    "the time has passed": (
        Spent(seconds=612.3),
        NextRound(5, seconds=40.0),
        "budget.seconds: 613 s of 600 s used",
    ),
    "the time is too short for a round": (
        Spent(seconds=590.0),
        NextRound(5, seconds=41.2),
        "budget.seconds: 590 s of 600 s used; the quickest round so far took 42 s",
    ),
}


@pytest.mark.parametrize(("spent", "following", "reason"), STOPS.values(), ids=STOPS)
def test_a_used_up_budget_says_with_what(spent: Spent, following: NextRound, reason: str) -> None:
    assert used_up(BUDGET, spent, following) == reason
    assert Account(BUDGET, spent, following).used_up() == reason
    assert used_up(BudgetSpec(), spent, following) is None


@pytest.mark.parametrize(
    ("spent", "following"),
    [
        (Spent(), NextRound(1)),
        (Spent(bytes_up=40 * MB), NextRound(5, bytes_up=10 * MB)),
        # 16 updates whose metrics have a digit more than the forecast took them to have
        (Spent(bytes_up=40 * MB + 16, updates=16), NextRound(5, bytes_up=10 * MB)),
        (Spent(memory=6000 * MB), NextRound(2)),
        (Spent(seconds=560.0), NextRound(5, seconds=40.0)),
        (Spent(seconds=599.9), NextRound(5)),
    ],
)
def test_what_just_fits_goes_on(spent: Spent, following: NextRound) -> None:
    assert used_up(BUDGET, spent, following) is None


def test_a_round_beyond_the_forecast_is_not_known() -> None:
    assert [upload_of((7, 8), number) for number in (1, 2, 3)] == [7, 8, 0]


@pytest.mark.parametrize(
    ("count", "down", "up"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1000, "1.0 kB", "1.0 kB"),
        (63_249_000, "63.2 MB", "63.3 MB"),
        (999_960, "999.9 kB", "1.0 MB"),
        (2 * 10**15, "2000.0 TB", "2000.0 TB"),
    ],
)
def test_sizes_are_rounded_away_from_trouble(count: int, down: str, up: str) -> None:
    assert (rounded_down(count), rounded_up(count)) == (down, up)


@pytest.mark.parametrize(
    "message_of",
    [
        lambda need: problems(BudgetSpec(bytes_up=1), forecast((need,)))[0].message,
        lambda need: problems(BudgetSpec(memory=1), forecast((1,), need))[0].message,
    ],
    ids=["bytes_up", "memory"],
)
@pytest.mark.parametrize("need", [12, 1001, 999_999, 63_249_001, 10**9 + 1])
def test_the_size_that_a_refusal_names_is_let_through(
    need: int, message_of: Callable[[int], Any]
) -> None:
    named = message_of(need).split("allowed: from ")[1].split(",")[0]
    assert parse_size(named) >= need
