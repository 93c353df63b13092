"""What clients report of their own hold-outs: the mean over all rows, and the worst client."""

from __future__ import annotations

from collections.abc import Sequence

from api.db.tables import Assignment
from api.schemas import HoldoutOut, WorstOut

# of these a low value is a good one
_ERRORS = frozenset({"loss", "perplexity", "mse", "rmse", "mae", "brier"})


def summary(seats: Sequence[Assignment]) -> HoldoutOut | None:
    """Over the clients of a round; None if none of them reported."""
    told = [seat for seat in seats if seat.holdout]
    if not told:
        return None
    names = sorted({name for seat in told for name in seat.holdout["metrics"]})
    return HoldoutOut(
        clients=len(told),
        num_examples=sum(_rows(seat) for seat in told),
        mean={name: _mean(told, name) for name in names},
        worst={name: _worst(told, name) for name in names},
    )


def _rows(seat: Assignment) -> int:
    return int(seat.holdout["num_examples"])


def _values(told: Sequence[Assignment], name: str) -> list[tuple[Assignment, float]]:
    every = [(seat, seat.holdout["metrics"].get(name)) for seat in told]
    return [(seat, float(value)) for seat, value in every if value is not None]


def _mean(told: Sequence[Assignment], name: str) -> float:
    found = _values(told, name)
    return sum(_rows(seat) * value for seat, value in found) / sum(_rows(s) for s, _ in found)


def _worst(told: Sequence[Assignment], name: str) -> WorstOut:
    sign = 1.0 if name in _ERRORS else -1.0
    seat, value = max(_values(told, name), key=lambda one: sign * one[1])
    return WorstOut(client=seat.client, value=value)
