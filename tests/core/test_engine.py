"""What a job needs next: each answer of the engine as a sentence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedkrso_core.budget import Account, NextRound, Spent
from fedkrso_core.engine import (
    Aggregate,
    Extend,
    Fail,
    Finish,
    JobView,
    Measure,
    Open,
    RoundView,
    Seat,
    Wait,
    measurement,
    next_action,
    participants,
    reserves,
    totals,
)
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import Payload
from fedkrso_core.rounds_spec import evaluates
from fedkrso_core.spec import BudgetSpec, JobSpec

JOURNAL, NEWEST_ONLY = METHODS["fedkrso"], METHODS["fedavg"]
STATES = {"d": "done", "p": "pending", "l": "leased", "f": "failed", "c": "cancelled"}


def collecting(seats: str, extended: bool = False) -> JobView:
    """Round 3 of 5 with its deadline at 100 s; one letter for each client's state."""
    placed = tuple(Seat(client, STATES[letter]) for client, letter in enumerate(seats))
    return JobView(5, 2, RoundView(3, "collecting", 100.0, extended, placed))


def action(seats: str, now: float = 0.0, quorum: float = 1.0, extended: bool = False) -> Any:
    return next_action(collecting(seats, extended), now, quorum)


def test_a_new_job_opens_its_first_round() -> None:
    assert next_action(JobView(5, 0), 0.0, 1.0) == Open(1)


def test_a_closed_round_is_followed_by_the_next() -> None:
    assert next_action(JobView(5, 2), 0.0, 1.0) == Open(3)


def test_a_job_finishes_after_its_last_round() -> None:
    assert next_action(JobView(5, 5), 0.0, 1.0) == Finish()


def account(spent: int, following: int = 3) -> Account:
    """Ten bytes to send, of which the next round takes two."""
    return Account(BudgetSpec(bytes_up=10), Spent(bytes_up=spent), NextRound(following, 2))


def test_a_round_that_the_budget_has_room_for_is_opened() -> None:
    assert next_action(JobView(5, 2, account=account(8)), 0.0, 1.0) == Open(3)


def test_a_job_finishes_early_when_the_next_round_does_not_fit() -> None:
    reason = "budget.bytes_up: 9 B of 10 B used; round 3 needs 2 B"
    assert next_action(JobView(5, 2, account=account(9)), 0.0, 1.0) == Finish(reason)


def test_what_ends_after_its_last_round_did_not_stop_early() -> None:
    assert next_action(JobView(5, 5, account=account(99, 6)), 0.0, 1.0) == Finish()


def test_the_first_round_runs_whatever_was_spent() -> None:
    assert next_action(JobView(5, 0, account=account(99, 1)), 0.0, 1.0) == Open(1)


def test_an_open_round_is_completed_whatever_was_spent() -> None:
    for seats, expected in {"ddl": Wait("1 of 3 clients of round 3"), "ddd": Aggregate(3)}.items():
        view = collecting(seats).open
        assert next_action(JobView(5, 2, view, account(99)), 0.0, 1.0) == expected


def test_an_aggregating_round_is_aggregated_again_after_a_crash() -> None:
    view = RoundView(3, "aggregating", 100.0, False, (Seat(0, "done"), Seat(1, "failed")))
    assert next_action(JobView(5, 2, view), 1e9, 1.0) == Aggregate(3)


def test_a_round_waits_for_its_clients() -> None:
    assert action("dplp") == Wait("3 of 4 clients of round 3")


def test_a_round_with_all_updates_is_aggregated() -> None:
    assert action("dddd") == Aggregate(3)


def test_before_the_deadline_a_quorum_still_waits() -> None:
    assert action("dddl", now=99.9, quorum=0.5) == Wait("1 of 4 clients of round 3")


def test_at_the_deadline_a_quorum_is_enough() -> None:
    assert action("ddlp", now=100.0, quorum=0.5) == Aggregate(3)


def test_a_quorum_without_anyone_working_does_not_wait() -> None:
    assert action("ddff", now=0.0, quorum=0.5) == Aggregate(3)


def test_the_first_deadline_below_the_quorum_extends() -> None:
    assert action("dlpp", now=100.0, quorum=0.5) == Extend(3)


def test_the_second_deadline_below_the_quorum_fails() -> None:
    reason = "round 3: 1 of 4 updates at the deadline, 2 needed"
    assert action("dlpp", now=100.0, quorum=0.5, extended=True) == Fail(reason)


def test_an_extended_round_waits_for_its_new_deadline() -> None:
    assert action("dlpp", now=99.0, quorum=0.5, extended=True) == Wait("3 of 4 clients of round 3")


def test_a_quorum_out_of_reach_fails_at_once() -> None:
    reason = "round 3: 3 of 4 clients failed, 2 updates are needed"
    assert action("fffd", now=0.0, quorum=0.5) == Fail(reason)


def test_a_failed_client_is_no_problem_above_the_quorum() -> None:
    assert action("fddd", quorum=0.75) == Aggregate(3)
    assert action("fddd", quorum=0.76) == Fail(
        "round 3: 1 of 4 clients failed, 4 updates are needed"
    )


def test_at_least_one_update_is_always_needed() -> None:
    assert action("ff", now=200.0, quorum=0.0) == Fail(
        "round 3: 2 of 2 clients failed, 1 updates are needed"
    )


def with_rules(seats: str, now: float = 0.0, **rules: int) -> Any:
    placed = tuple(Seat(client, STATES[letter]) for client, letter in enumerate(seats))
    view = RoundView(3, "collecting", 100.0, False, placed, **rules)
    return next_action(JobView(5, 2, view), now, 0.5)


def test_a_round_with_extra_clients_closes_with_the_first_updates() -> None:
    assert with_rules("dddlp", target=3) == Aggregate(3)
    assert with_rules("ddlpp", target=3) == Wait("3 of 5 clients of round 3")
    assert with_rules("ddlpp", now=100.0, target=3) == Aggregate(3)  # half of three are two
    assert with_rules("ddfff", target=3) == Aggregate(3)


def test_a_quorum_may_be_a_number() -> None:
    assert with_rules("dddl", now=100.0, least=4) == Extend(3)
    assert with_rules("dlll", now=100.0, least=1) == Aggregate(3)
    reason = "round 3: 1 of 4 clients failed, 4 updates are needed"
    assert with_rules("dddf", least=4) == Fail(reason)


@pytest.mark.parametrize(("quorum", "total", "needed"), [(0.07, 100, 7), (0.56, 25, 14)])
def test_a_quorum_is_not_raised_by_rounding(quorum: float, total: int, needed: int) -> None:
    seats = "d" * needed + "f" * (total - needed)
    assert action(seats, quorum=quorum) == Aggregate(3)


def test_clients_of_a_round_are_drawn_from_the_seed(job: Callable[..., JobSpec]) -> None:
    def drawn(seed: int, number: int) -> list[int]:
        spec = job(clients={"count": 50, "per_round": 10}, seed=seed)
        return participants(JOURNAL, JOURNAL.Config(), spec, Payload(), number)

    assert drawn(1, 1) == drawn(1, 1) == sorted(set(drawn(1, 1)))
    assert len(drawn(1, 1)) == 10
    assert drawn(1, 1) != drawn(1, 2)
    assert drawn(1, 1) != drawn(2, 1)
    assert len({client for number in range(40) for client in drawn(1, number)}) == 50


def test_extra_clients_leave_the_first_choice_as_it_is(job: Callable[..., JobSpec]) -> None:
    def drawn(extra: int, number: int = 1) -> tuple[list[int], list[int]]:
        spec = job(clients={"count": 20, "per_round": 5, "select_extra": extra})
        first = participants(JOURNAL, JOURNAL.Config(), spec, Payload(), number)
        return first, reserves(JOURNAL, JOURNAL.Config(), spec, Payload(), first, number)

    first, extra = drawn(4)
    assert drawn(0) == (first, [])
    assert drawn(4) == (first, extra)
    assert len(set(first) | set(extra)) == 9
    assert extra == sorted(extra)
    assert drawn(4, number=2)[1] != extra


def test_a_closed_round_is_measured_beside_the_training() -> None:
    view = replace(collecting("dl"), unmeasured=2)
    assert measurement(view) == Measure(2)
    assert next_action(view, 0.0, 1.0) == Wait("1 of 2 clients of round 3")


def test_a_round_that_somebody_measures_is_left_to_them() -> None:
    assert measurement(replace(collecting("dl"), unmeasured=2, measuring=True)) is None


def test_the_next_round_does_not_wait_for_a_measurement() -> None:
    assert next_action(JobView(5, 2, unmeasured=2, measuring=True), 0.0, 1.0) == Open(3)


def test_a_job_ends_when_all_is_measured() -> None:
    done = JobView(5, 5, unmeasured=4, last_measured=False)
    assert next_action(done, 0.0, 1.0) == Measure(4)
    waiting = replace(done, measuring=True)
    assert next_action(waiting, 0.0, 1.0) == Wait("the evaluation of round 4")


def test_a_job_that_stops_early_is_measured_where_it_stops() -> None:
    stopped = JobView(5, 2, account=account(9), last_measured=False)
    assert next_action(stopped, 0.0, 1.0) == Measure(2)
    assert isinstance(next_action(replace(stopped, last_measured=True), 0.0, 1.0), Finish)


def test_a_job_fails_only_after_what_can_be_measured_was() -> None:
    lost = replace(collecting("ff"), unmeasured=2)
    assert next_action(lost, 0.0, 1.0) == Measure(2)
    assert isinstance(next_action(replace(lost, unmeasured=None), 0.0, 1.0), Fail)


def test_evaluation_comes_every_so_often_and_at_the_end() -> None:
    assert [n for n in range(1, 8) if evaluates(n, every=3, rounds=7)] == [3, 6, 7]


def test_totals_are_sums_and_the_highest_memory() -> None:
    rounds = [
        {"bytes_up": 1, "bytes_down": 10, "peak_memory_bytes": 5, "seconds": {"train": 0.5}},
        {"bytes_up": 2, "bytes_down": 20, "peak_memory_bytes": 3, "seconds": {"evaluate": 0.25}},
    ]
    assert totals(rounds) == {
        "bytes_up": 3,
        "bytes_down": 30,
        "peak_memory_bytes": 5,
        "seconds": {"train": 0.5, "aggregate": 0.0, "evaluate": 0.25},
    }
    assert totals([])["peak_memory_bytes"] == 0


def filling(seats: str, extended: bool = False) -> JobView:
    """Round 3 of 5 that closes at two updates; its deadline is at 100 s."""
    placed = tuple(Seat(client, STATES[letter]) for client, letter in enumerate(seats))
    return JobView(5, 2, RoundView(3, "collecting", 100.0, extended, placed, target=2))


def test_a_buffered_round_is_aggregated_when_it_is_full() -> None:
    assert next_action(filling("ddll"), 0.0, 1.0) == Aggregate(3)
    assert next_action(filling("dddl"), 0.0, 1.0) == Aggregate(3)


def test_a_buffered_round_waits_for_any_of_those_at_work() -> None:
    reason = "3 of 4 clients of round 3"
    assert next_action(filling("dllp"), 99.0, 0.5) == Wait(reason)


def test_a_buffered_round_closes_with_the_quorum_at_its_deadline() -> None:
    assert next_action(filling("dllp"), 100.0, 0.5) == Aggregate(3)
    assert next_action(filling("dllp"), 100.0, 1.0) == Extend(3)
    reason = "round 3: 1 of 2 updates at the deadline, 2 needed"
    assert next_action(filling("dllp", extended=True), 100.0, 1.0) == Fail(reason)


def test_a_buffered_round_that_cannot_fill_closes_or_fails_at_once() -> None:
    assert next_action(filling("d"), 0.0, 0.5) == Aggregate(3)
    reason = "round 3: 1 of 2 updates, 0 clients at work, 2 updates are needed"
    assert next_action(filling("d"), 0.0, 1.0) == Fail(reason)


def test_free_places_go_to_clients_that_are_neither_at_work_nor_counted(
    job: Callable[..., JobSpec],
) -> None:
    spec = job(clients={"count": 8, "per_round": 4}, rounds={"mode": "buffered"})
    chosen = participants(
        JOURNAL, JOURNAL.Config(), spec, Payload(), 3, working={1, 2}, answered={5}
    )
    assert len(chosen) == 2
    assert not {1, 2, 5} & set(chosen)
    every = participants(JOURNAL, JOURNAL.Config(), spec, Payload(), 3, working=range(4))
    assert every == []
    few = participants(JOURNAL, JOURNAL.Config(), spec, Payload(), 3, {0}, set(range(2, 8)))
    assert few == [1]
