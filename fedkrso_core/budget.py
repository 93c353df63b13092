"""A job's budget: whether the job can fit into it, and whether it is used up; torch-free.

Needs are rounded up and limits down: a message never shows the same number twice, and whoever
types the number that it names is let through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from fedkrso_core.errors import Problem
from fedkrso_core.forecast import Footprint, Forecast, Pace, Traffic
from fedkrso_core.sizes import rounded_down, rounded_up
from fedkrso_core.spec import BudgetSpec

# by so many bytes an update may be longer than forecast: its metrics have more or fewer digits
DIGITS = 32


@dataclass(frozen=True)
class Spent:
    """What a job has used so far."""

    bytes_up: int = 0  # all that its clients sent
    bytes_up_lost: int = 0  # the part of it that was refused or sent twice
    updates: int = 0  # accepted
    memory: int = 0  # the highest peak that a client reported, bytes
    seconds: float = 0.0  # since the job's start


@dataclass(frozen=True)
class NextRound:
    """What the round that comes next takes, as far as it is known; 0 where it is not."""

    number: int
    bytes_up: int = 0  # forecast when every client answers once
    seconds: float = 0.0  # the quickest round so far


@dataclass(frozen=True)
class Account:
    """The budget of a running job, what was spent of it, and what comes next."""

    budget: BudgetSpec
    spent: Spent
    next_round: NextRound

    def used_up(self) -> str | None:
        """Why the next round must not be opened; None if it may be."""
        return used_up(self.budget, self.spent, self.next_round)


def is_limited(budget: BudgetSpec) -> bool:
    """Whether the budget limits anything: only then a forecast is worth its time."""
    return budget != BudgetSpec()


def problems(budget: BudgetSpec, forecast: Forecast) -> list[Problem]:
    """A Problem for each limit that even the forecast is above, with the numbers in words."""
    found = []
    if budget.bytes_up is not None and forecast.traffic is not None:
        found.append(_upload_problem(budget.bytes_up, forecast.traffic))
    if budget.memory is not None and forecast.memory is not None:
        found.append(_memory_problem(budget.memory, forecast.memory))
    if budget.seconds is not None and forecast.pace is not None:
        found.append(_time_problem(budget.seconds, forecast.pace))
    return [problem for problem in found if problem is not None]


def _upload_problem(limit: int, traffic: Traffic) -> Problem | None:
    if traffic.bytes_up <= limit:
        return None
    needed, rounds = rounded_up(traffic.bytes_up), len(traffic.rounds)
    mean = rounded_up(math.ceil(traffic.bytes_up / rounds))
    fitting = sum(total <= limit for total in accumulate(r.bytes_up for r in traffic.rounds))
    fewer = f", or at most {_count(fitting, 'round')}" if fitting else ""
    message = (
        f"{rounded_down(limit)}, but the job sends {needed}: {_count(rounds, 'round')} of about "
        f"{mean}; allowed: from {needed}{fewer}"
    )
    return Problem("budget.bytes_up", message, limit)


def _memory_problem(limit: int, memory: Footprint) -> Problem | None:
    if memory.process <= limit:
        return None
    needed = rounded_up(memory.process)
    message = (
        f"{rounded_down(limit)}, but a client will report about {needed}, of it "
        f"{rounded_up(memory.peak)} in tensors (weights {rounded_up(memory.weights)}, activations "
        f"{rounded_up(memory.activations)}); allowed: from {needed}, or a smaller "
        "local.batch_size or local.max_length"
    )
    return Problem("budget.memory", message, limit)


def _time_problem(limit: float, pace: Pace) -> Problem | None:
    if pace.seconds <= limit:
        return None
    needed = _seconds_up(pace.seconds)
    message = (
        f"{limit:.10g} s, but training takes at least about {needed}, as estimated on this machine "
        f"({_seconds_up(pace.seconds_per_round)} for each round, its clients side by side); "
        f"allowed: from {needed}, or fewer rounds or local.steps"
    )
    return Problem("budget.seconds", message, limit)


def used_up(budget: BudgetSpec, spent: Spent, next_round: NextRound) -> str | None:
    """The first limit that is used up or that the next round would break, in words.

    Spending only grows, so the answer for a job stays a reason once it is one.
    """
    reasons = (
        _upload_used_up(budget.bytes_up, spent, next_round),
        _memory_used_up(budget.memory, spent),
        _time_used_up(budget.seconds, spent, next_round),
    )
    return next((reason for reason in reasons if reason is not None), None)


def _upload_used_up(limit: int | None, spent: Spent, next_round: NextRound) -> str | None:
    if limit is None:
        return None
    # a job that fits by its forecast is not stopped for a digit; and a round sends something
    room = limit + DIGITS * spent.updates - spent.bytes_up
    if max(next_round.bytes_up, 1) <= room:
        return None
    lost = f" ({rounded_up(spent.bytes_up_lost)} of it refused or sent twice)"
    needs = f"; round {next_round.number} needs {rounded_up(next_round.bytes_up)}"
    return (
        f"budget.bytes_up: {rounded_up(spent.bytes_up)} of {rounded_down(limit)} used"
        f"{lost if spent.bytes_up_lost else ''}{needs if next_round.bytes_up else ''}"
    )


def _memory_used_up(limit: int | None, spent: Spent) -> str | None:
    if limit is None or spent.memory <= limit:
        return None
    return (
        f"budget.memory: a client reported {rounded_up(spent.memory)} of {rounded_down(limit)} "
        "allowed"
    )


def _time_used_up(limit: float | None, spent: Spent, next_round: NextRound) -> str | None:
    if limit is None:
        return None
    used = f"budget.seconds: {_seconds_up(spent.seconds)} of {limit:.10g} s used"
    if spent.seconds >= limit:
        return used
    if spent.seconds + next_round.seconds > limit:
        quickest = _seconds_up(next_round.seconds)
        return f"{used}; the quickest round so far took {quickest}"
    return None


def upload_of(bytes_up: Sequence[int], number: int) -> int:
    """The forecast upload of a round, counted from 1; 0 if there is no forecast."""
    return bytes_up[number - 1] if number <= len(bytes_up) else 0


def _seconds_up(seconds: float) -> str:
    """Seconds, rounded up to what still tells them apart: 0.3 s, 42 s."""
    return f"{math.ceil(seconds)} s" if seconds >= 10 else f"{math.ceil(seconds * 10) / 10:g} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
