"""Which assignments make up a round: not the same question for downloads, uploads and clients.

In a synchronous job all three are the assignments of the round. In a buffered one a client may
begin with one round and be counted in a later one: its download belongs to the first, its upload,
its training and its memory to the second. So each is counted once, and a closed round changes no
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api.db.seats import WORKING, Seat
from api.db.tables import Assignment, Round

OPEN = ("collecting", "aggregating")


@dataclass(frozen=True)
class RoundSeats:
    """Assignments of a round, each list in order of clients."""

    begun: list[Seat] = field(default_factory=list)  # they download its model
    handed_in: list[Seat] = field(default_factory=list)  # their uploads are its uploads
    members: list[Seat] = field(default_factory=list)  # its clients


def by_round(seats: Sequence[Seat], rows: Sequence[Round], buffered: bool) -> dict[int, RoundSeats]:
    """A job's assignments by the number of the round, for the rounds that are given."""
    found = {row.number: RoundSeats() for row in rows}
    at_work = next((row.number for row in rows if row.state in OPEN), None)
    for seat in sorted(seats, key=lambda seat: (seat.client, seat.number)):
        if seat.number in found:
            found[seat.number].begun.append(seat)
        counted = seat.number if seat.counted_in is None else seat.counted_in
        if counted in found:  # else the update waits for a round that is not open yet
            found[counted].handed_in.append(seat)
        member_of = _member_of(seat, at_work, buffered)
        if member_of in found:
            found[member_of].members.append(seat)
    return found


def _member_of(seat: Seat, at_work: int | None, buffered: bool) -> int | None:
    if not buffered:
        return seat.number
    return at_work if seat.state in WORKING else seat.counted_in


def concerns(seat: Assignment, row: Round) -> bool:
    """Whether the client began with the round, is counted in it, or is at work while it is open."""
    if row.number in (seat.number, seat.counted_in):
        return True
    return row.state in OPEN and seat.state in WORKING
