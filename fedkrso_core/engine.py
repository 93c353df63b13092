"""Round logic as pure functions: a snapshot of a job in, what to do next out.

The coordinator and `simulate` both ask `next_action` and carry out the answer; neither decides
anything else. The engine never names a method.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fedkrso_core.budget import Account
from fedkrso_core.clients import quorum_of
from fedkrso_core.method import Method, window_of
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import JobSpec

SeatState = Literal["pending", "leased", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Seat:
    """A client's place in a round."""

    client: int
    state: SeatState


@dataclass(frozen=True)
class RoundView:
    """The open round as it stands. Times are seconds on the caller's clock.

    `target` updates close it at once (None: those of all seats); at the deadline `least` are
    enough (None: the quorum's share of the target). Where rounds are buffered, the target is the
    buffer, and the seats are the updates that are in the round and all clients that are still at
    work, whichever round's model they began with.
    """

    number: int
    state: Literal["collecting", "aggregating"]
    deadline: float
    extended: bool
    seats: tuple[Seat, ...]
    target: int | None = None
    least: int | None = None

    def count(self, state: SeatState) -> int:
        """Seats in a state."""
        return sum(seat.state == state for seat in self.seats)


@dataclass(frozen=True)
class JobView:
    """A running job: rounds to train, rounds closed, and the open one if there is one.

    `account` is needed where the job has a budget and no round is open. `unmeasured` is the first
    closed round whose model is to be measured and was not yet; `measuring`: somebody is at it.
    `last_measured`: the model of the last closed round has its metrics. `lacks` says which clients
    must come before the next round can open, if any, and `patience_until` when that is too late.
    """

    rounds: int
    closed: int
    open: RoundView | None = None
    account: Account | None = None
    unmeasured: int | None = None
    measuring: bool = False
    last_measured: bool = True
    lacks: str | None = None
    patience_until: float = math.inf


@dataclass(frozen=True)
class Open:
    """Open this round: choose its clients and give them work."""

    round: int


@dataclass(frozen=True)
class Aggregate:
    """Aggregate what this round's clients sent, and close."""

    round: int


@dataclass(frozen=True)
class Measure:
    """Evaluate the model of this closed round."""

    round: int


@dataclass(frozen=True)
class Extend:
    """The deadline passed below the quorum: extend this round, once."""

    round: int


@dataclass(frozen=True)
class Fail:
    """The job cannot go on."""

    reason: str


@dataclass(frozen=True)
class Finish:
    """All rounds are closed, or with a reason: no more of them fit into the budget."""

    reason: str | None = None


@dataclass(frozen=True)
class Wait:
    """Nothing to do before a client reports or the deadline passes."""

    reason: str


Action = Open | Aggregate | Measure | Extend | Fail | Finish | Wait


def measurement(job: JobView) -> Measure | None:
    """The closed round to measure now, if nobody is at it.

    It is apart from `next_action` because it keeps no client waiting: a round opens as soon as the
    one before it is closed, and its clients train while the model that they began with is measured.
    """
    return None if job.unmeasured is None or job.measuring else Measure(job.unmeasured)


def next_action(job: JobView, now: float, quorum: float) -> Action:
    """What a running job needs now; `quorum` is the share of a round's clients that must report.

    A budget ends a job between two rounds: what is open is completed, so that no update is lost,
    and the first round always runs, so that there is a result. No job ends before all that is to be
    measured has been.
    """
    action = _training(job, now, quorum)
    if not isinstance(action, Fail | Finish):
        return action
    if job.measuring or job.unmeasured is not None:
        return measurement(job) or Wait(f"the evaluation of round {job.unmeasured or job.closed}")
    return action if job.last_measured or isinstance(action, Fail) else Measure(job.closed)


def _training(job: JobView, now: float, quorum: float) -> Action:
    if job.open is None:
        return _between_rounds(job, now)
    if job.open.state == "aggregating":
        return Aggregate(job.open.number)
    return _collecting(job.open, now, quorum)


def _between_rounds(job: JobView, now: float) -> Open | Finish | Wait | Fail:
    if job.closed >= job.rounds:
        return Finish()
    reason = job.account.used_up() if job.account and job.closed else None
    if reason is not None:
        return Finish(reason)
    if job.lacks is None:
        return Open(job.closed + 1)
    return Wait(job.lacks) if now < job.patience_until else Fail(f"too late: {job.lacks}")


def _collecting(view: RoundView, now: float, quorum: float) -> Action:
    total, done = len(view.seats), view.count("done")
    target = view.target or total
    needed = view.least or quorum_of(quorum, target)
    working = view.count("pending") + view.count("leased")
    if done >= target or (done >= needed and (not working or now >= view.deadline)):
        return Aggregate(view.number)
    if done + working < needed:
        lost = view.count("failed")
        have = f"{done} of {target} updates, {working} clients at work"
        why = f"{lost} of {total} clients failed" if lost else have
        return Fail(f"round {view.number}: {why}, {needed} updates are needed")
    if now < view.deadline:
        return Wait(f"{working} of {total} clients of round {view.number}")
    if not view.extended:
        return Extend(view.number)
    return Fail(f"round {view.number}: {done} of {target} updates at the deadline, {needed} needed")


def participants(
    method: Method,
    config: Any,
    spec: JobSpec,
    state: Payload,
    number: int,
    working: Collection[int] = (),
    answered: Collection[int] = (),
    away: Collection[int] = (),
) -> list[int]:
    """The clients that begin with a round, ascending, by the method's own rule.

    Where rounds are buffered, clients that are still `working` keep their places, and those that
    have already `answered` in this round wait for the next. Places of external clients that nobody
    has are `away`.
    """
    taken = {*working, *answered, *away}
    free = [client for client in range(spec.clients.count) if client not in taken]
    places = min(spec.clients.per_round - len(working), len(free))
    if places <= 0:
        return []
    return sorted(
        method.select(config, state, free, places, generator(spec.seed, "select", number))
    )


def reserves(
    method: Method,
    config: Any,
    spec: JobSpec,
    state: Payload,
    first: Sequence[int],
    number: int,
    away: Collection[int] = (),
) -> list[int]:
    """The `clients.select_extra` clients that are chosen beside the `first`, ascending.

    They are drawn apart, so that a job whose first choice answers in time is the same job as one
    without them.
    """
    if not spec.clients.select_extra:
        return []
    rng = generator(spec.seed, "select-extra", number)
    taken = {*first, *away}
    others = [client for client in range(spec.clients.count) if client not in taken]
    extra = min(spec.clients.select_extra, len(others))
    return sorted(method.select(config, state, others, extra, rng)) if extra else []


def lacking(method: Method, config: Any, have: int | None, number: int) -> range:
    """Rounds of the states that a client needs for round `number` and was never sent.

    `have` is the last state that it holds. Where each state replaces the one before it is the
    newest state alone.
    """
    first = needed(method, config, number).start
    if have is None or (not method.journal and window_of(method, config) == 1):
        return range(first, number)
    return range(max(first, have + 1), number)


def needed(method: Method, config: Any, number: int) -> range:
    """Rounds of all the states that make the model for round `number`."""
    if method.journal:
        return range(number)
    return range(max(0, number - window_of(method, config)), number)


def totals(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over rounds (objects as in rounds.jsonl): bytes, seconds, and the highest memory."""
    kinds = ("train", "aggregate", "evaluate")
    return {
        "bytes_up": sum(r["bytes_up"] for r in rounds),
        "bytes_down": sum(r["bytes_down"] for r in rounds),
        "peak_memory_bytes": max((r["peak_memory_bytes"] for r in rounds), default=0),
        "seconds": {k: round(sum(r["seconds"].get(k, 0.0) for r in rounds), 3) for k in kinds},
    }
