"""In which round an accepted update is counted, and with which weight."""

from __future__ import annotations

from typing import Any

from api.db.buffered import Place
from api.db.tables import Assignment
from api.errors import ApiError


def count(seat: Assignment, place: Place | None) -> tuple[str, dict[str, Any]]:
    """Counts a locked assignment's update; what happened in words, and as data.

    ApiError 409 if it is too old to be counted, or comes after the last round. In a job whose
    rounds are not buffered (no `place`) it is part of the round that its client began with.
    """
    number = seat.number if place is None else place.number
    seat.counted_in = number
    if place is None or number == seat.number:
        text = f"Client {seat.client} handed in its update (round {number}, {seat.bytes_up} bytes)"
        return text, {}
    late = number - seat.number
    if number > place.last:
        raise _refused(seat, "comes after the last round")
    if reason := place.rounds.too_stale(late):
        raise _refused(seat, f"is {reason}")
    weight = place.rounds.weight(late)
    text = (
        f"Client {seat.client}'s update from round {seat.number} counted in round {number}, "
        f"weight {weight:.2f} ({seat.bytes_up} bytes)"
    )
    return text, {"round": seat.number, "counted_in": number, "weight": weight}


def _refused(seat: Assignment, why: str) -> ApiError:
    detail = f"the update of client {seat.client} from round {seat.number} {why}"
    return ApiError(409, "too-late", detail)
