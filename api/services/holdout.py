"""What clients report of their own hold-outs: the mean over all rows, and the worst client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.db.seats import Seat
from api.schemas import HoldoutOut, WorstOut

# of these a low value is a good one
_ERRORS = frozenset({"loss", "perplexity", "mse", "rmse", "mae", "brier"})


def summary(seats: Sequence[Seat]) -> HoldoutOut | None:
    """Over the clients of a round; None if none of them reported."""
    told = [seat for seat in seats if seat.holdout]
    if not told:
        return None
    names = sorted({name for seat in told for name in _reported(seat)["metrics"]})
    return HoldoutOut(
        clients=len(told),
        num_examples=sum(_rows(seat) for seat in told),
        mean={name: _mean(told, name) for name in names},
        worst={name: _worst(told, name) for name in names},
    )


def _reported(seat: Seat) -> dict[str, Any]:
    assert seat.holdout is not None
    return seat.holdout


def _rows(seat: Seat) -> int:
    return int(_reported(seat)["num_examples"])


def _values(told: Sequence[Seat], name: str) -> list[tuple[Seat, float]]:
    every = [(seat, _reported(seat)["metrics"].get(name)) for seat in told]
    return [(seat, float(value)) for seat, value in every if value is not None]


def _mean(told: Sequence[Seat], name: str) -> float:
    found = _values(told, name)
    return sum(_rows(seat) * value for seat, value in found) / sum(_rows(s) for s, _ in found)


def _worst(told: Sequence[Seat], name: str) -> WorstOut:
    sign = 1.0 if name in _ERRORS else -1.0
    seat, value = max(_values(told, name), key=lambda one: sign * one[1])
    return WorstOut(client=seat.client, value=value)
