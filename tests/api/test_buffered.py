"""Buffered rounds: when they close, what they count and with which weight; on both databases."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch

from api.assignment_schemas import AssignmentOut
from api.errors import ApiError
from api.services import jobs
from fedkrso_core.payload import decode
from tests.api.buffering import replayed
from tests.api.house import House, is_refused, toy_update


def buffered(house: House, count: int = 3, clients: int = 3, **fields: Any) -> str:
    """An open job of 3 places whose rounds close at 1 update, if not said otherwise."""
    rounds = {"count": count, "mode": "buffered", "buffer": 1, **fields}
    return house.open_job(clients=clients, rounds=rounds, per_round=3)


def claims(house: House, count: int = 3) -> dict[int, AssignmentOut]:
    """So many assignments, by client."""
    return {seat.client: seat for seat in (house.claim() for _ in range(count))}


def hand_in(house: House, job_id: str, seat: AssignmentOut, value: float = 1.0) -> None:
    house.hand_in(seat, toy_update((value, value)))
    house.advance(job_id)


def state(house: House, job_id: str, number: int) -> float:
    """The toy state after a round: one number."""
    row = house.round(job_id, number)
    assert row.digest is not None
    return float(house.store.payload(row.digest).tensors["w"][0])


def counted(house: House, job_id: str) -> dict[int, list[tuple[int, int]]]:
    """(client, round it began with) of each closed round."""
    found: dict[int, list[tuple[int, int]]] = {}
    for seat in house.seats(job_id):
        if seat.counted_in is not None:
            found.setdefault(seat.counted_in, []).append((seat.client, seat.number))
    return found


def test_a_round_closes_when_its_buffer_is_full(house: House) -> None:
    job_id = buffered(house, buffer=2)
    seats = claims(house)
    hand_in(house, job_id, seats[0])
    assert house.round(job_id, 1).state == "collecting"
    hand_in(house, job_id, seats[2])
    assert [row.state for row in house.rounds(job_id)] == ["closed", "closed", "collecting"]


def test_who_is_at_work_when_a_round_closes_goes_on(house: House) -> None:
    job_id = buffered(house)
    seats = claims(house)
    hand_in(house, job_id, seats[0])
    house.heartbeat(seats[1])
    assert house.fetch(seats[1]) > 0
    assert house.seat(seats[1].id).state == "leased"
    assert house.seat(seats[1].id).number == 1


def test_free_places_go_to_clients_that_are_not_at_work(house: House) -> None:
    job_id = buffered(house, clients=4, buffer=2)
    first = [seat.client for seat in house.seats(job_id, 1)]
    seats = claims(house)
    hand_in(house, job_id, seats[first[0]])
    hand_in(house, job_id, seats[first[1]])
    begun = [seat.client for seat in house.seats(job_id, 2)]
    assert len(begun) == 2
    assert first[2] not in begun


def test_a_stale_update_is_counted_in_the_open_round_with_less_weight(house: House) -> None:
    job_id = buffered(house)
    seats = claims(house)
    hand_in(house, job_id, seats[0], 8.0)
    hand_in(house, job_id, seats[1], 8.0)
    hand_in(house, job_id, seats[2], 8.0)
    assert counted(house, job_id) == {1: [(0, 1)], 2: [(1, 1)], 3: [(2, 1)]}
    after = [state(house, job_id, number) for number in (1, 2, 3)]
    assert after == pytest.approx([8.0, 8.0 * 2**-0.5, 8.0 * 3**-0.5])
    text = "Client 2's update from round 1 counted in round 3, weight 0.58"
    assert any(event.text.startswith(text) for event in house.events(job_id))


def test_constant_staleness_keeps_the_weight(house: House) -> None:
    job_id = buffered(house, staleness="constant")
    seats = claims(house)
    hand_in(house, job_id, seats[0], 8.0)
    hand_in(house, job_id, seats[1], 8.0)
    assert state(house, job_id, 2) == 8.0


def test_a_client_that_nobody_took_begins_with_the_newest_model(house: House) -> None:
    job_id = buffered(house)
    hand_in(house, job_id, house.claim())
    assert {seat.number for seat in house.seats(job_id) if seat.state == "pending"} == {2}
    seat = house.claim()
    assert seat.round == 2
    assert [s.round for s in seat.states] == [0, 1]
    hand_in(house, job_id, seat)
    assert [late for _, late in counted(house, job_id)[2]] == [2]


def test_an_update_that_comes_while_a_round_is_aggregated_is_part_of_the_next(
    house: House,
) -> None:
    job_id = buffered(house)
    seats = claims(house)
    house.hand_in(seats[0], toy_update((1.0, 1.0)))

    def meanwhile() -> None:
        if house.round(job_id).state == "aggregating":
            house.store.before = lambda: None
            house.hand_in(seats[1], toy_update((4.0, 4.0)))

    house.store.before = meanwhile
    house.advance(job_id)
    assert counted(house, job_id) == {1: [(0, 1)], 2: [(1, 1)]}
    assert house.round(job_id, 2).state == "closed"
    assert state(house, job_id, 2) == pytest.approx(4.0 * 2**-0.5)


def test_work_that_is_too_stale_is_cancelled_with_the_reason(house: House) -> None:
    job_id = buffered(house, max_staleness=1)
    seats = claims(house)
    hand_in(house, job_id, seats[0])
    hand_in(house, job_id, seats[1])
    late = house.seat(seats[2].id)
    assert (late.state, late.counted_in) == ("cancelled", None)
    assert late.error == "its update would be over 1 rounds stale (rounds.max_staleness)"
    is_refused(409, "stale-lease", lambda: house.hand_in(seats[2]))
    assert house.count(job_id, "too-stale") == 1


def test_an_update_that_became_too_stale_a_moment_ago_is_refused(house: House) -> None:
    job_id = buffered(house, max_staleness=0)
    seats = claims(house)
    house.hand_in(seats[0])

    def meanwhile() -> None:
        if house.round(job_id).state == "aggregating":
            house.store.before = lambda: None
            is_refused(409, "too-late", lambda: house.hand_in(seats[1]))

    house.store.before = meanwhile
    house.advance(job_id)
    assert counted(house, job_id) == {1: [(0, 1)]}
    assert house.seat(seats[1].id).state == "cancelled"


def test_who_is_late_at_the_end_of_the_job_is_cancelled(house: House) -> None:
    job_id = buffered(house, count=1)
    seats = claims(house)
    hand_in(house, job_id, seats[0])
    assert house.get(job_id).state == "done"
    late = house.seat(seats[1].id)
    assert (late.state, late.error) == ("cancelled", "the job ended before it was counted")
    is_refused(409, "stale-lease", lambda: house.hand_in(seats[1]))


def test_an_update_during_the_last_aggregation_is_refused(house: House) -> None:
    job_id = buffered(house, count=1)
    seats = claims(house)
    house.hand_in(seats[0])

    def meanwhile() -> None:
        if house.round(job_id).state == "aggregating":
            house.store.before = lambda: None
            is_refused(409, "too-late", lambda: house.hand_in(seats[1]))

    house.store.before = meanwhile
    house.advance(job_id)
    assert house.get(job_id).state == "done"


def test_a_round_below_its_buffer_closes_with_the_quorum_at_its_deadline(house: House) -> None:
    job_id = buffered(house, buffer=2)
    hand_in(house, job_id, claims(house)[0])
    house.deadline_passes(job_id)
    house.advance(job_id)
    assert counted(house, job_id) == {1: [(0, 1)]}
    assert house.round(job_id, 2).state == "collecting"


def test_a_round_that_nobody_can_fill_fails_the_job(house: House) -> None:
    house.settings.max_attempts = 1
    job_id = buffered(house, buffer=2)
    for seat in claims(house).values():
        house.give_back(seat)
    house.advance(job_id)
    reason = "round 1: 0 of 2 updates, 0 clients at work, 1 updates are needed"
    assert house.get(job_id).reason == reason


def test_bytes_and_memory_are_those_of_one_round(house: House) -> None:
    job_id = buffered(house)
    seats = claims(house)
    down = {client: house.fetch(seat) for client, seat in seats.items()}
    hand_in(house, job_id, seats[0])
    house.hand_in(seats[1], peak_memory_bytes=5000)
    house.advance(job_id)
    first, second, open_round = jobs.rounds_of(house.engine, job_id)
    size = len(toy_update())
    assert (first.bytes_up, first.bytes_down) == (size, sum(down.values()))
    assert (second.bytes_up, second.peak_memory_bytes) == (size, 5000)
    assert (first.clients, first.staleness) == ([0], [0])
    assert (second.clients, second.staleness) == ([1], [1])
    assert open_round.clients == [0, 1, 2]
    job = jobs.get(house.engine, job_id)
    assert job.bytes_up == first.bytes_up + second.bytes_up + open_round.bytes_up


def test_the_clients_of_a_round_say_where_they_began_and_are_counted(house: House) -> None:
    job_id = buffered(house)
    seats = claims(house)
    hand_in(house, job_id, seats[0])
    hand_in(house, job_id, seats[1])
    rows = {row.client: row for row in jobs.round_clients(house.engine, job_id, 2)}
    assert (rows[1].round, rows[1].counted_in, rows[1].staleness) == (1, 2, 1)
    assert rows[1].weight == pytest.approx(2**-0.5)
    newest = {row.client: row for row in jobs.round_clients(house.engine, job_id, 3)}
    assert (newest[2].round, newest[2].counted_in, newest[2].weight) == (1, None, None)
    assert newest[0].round == 3
    waits = jobs.get(house.engine, job_id).waiting_for
    assert waits is not None
    assert waits.startswith("round 3: 0 of 1 updates (at its deadline 1 will do); client 0 waits")


def test_a_closed_round_can_be_replayed(house: House) -> None:
    job_id = buffered(house, buffer=2)
    seats = claims(house)
    for seat, value in ((seats[2], 4.0), (seats[0], 2.0), (seats[1], 1.0)):
        hand_in(house, job_id, seat, value)
    hand_in(house, job_id, house.claim(), 16.0)
    for number in (1, 2):
        assert replayed(house, job_id, number) == house.round(job_id, number).digest


def test_no_update_is_lost_or_counted_twice_however_many_come_at_once(house: House) -> None:
    """Workers and coordinators race; each update is worth a number of its own."""
    rounds = {"count": 8, "mode": "buffered", "buffer": 2, "staleness": "constant"}
    job_id = house.open_job(clients=6, rounds=rounds, per_round=4)
    values, accepted, lock = itertools.count(1), dict[str, float](), threading.Lock()

    def work(_: int) -> None:
        while house.get(job_id).state == "running":
            seat = house.claim_or_none()
            if seat is None:
                house.advance(job_id)
                continue
            with lock:
                value = float(2 ** (next(values) % 20))
            with suppress(ApiError):
                house.hand_in(seat, toy_update((value, value)))
                with lock:
                    accepted[seat.id] = value
            house.advance(job_id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    job = house.get(job_id)
    assert (job.state, job.errors) == ("done", 0)
    total = 0.0
    for number in range(1, 9):
        seats = [seat for seat in house.seats(job_id) if seat.counted_in == number]
        assert len(seats) >= 2
        assert len({seat.client for seat in seats}) == len(seats)
        row = house.round(job_id, number)
        assert row.digest is not None
        sums = decode(house.store.blobs.read(row.digest)).tensors["w"] * len(seats)
        assert torch.allclose(sums, torch.full((2,), sum(accepted[seat.id] for seat in seats)))
        total += len(seats)
    states = {seat.id: seat.state for seat in house.seats(job_id)}
    assert total == sum(states[seat] == "done" for seat in accepted)
    assert {states[seat] for seat in accepted} <= {"done", "cancelled"}
    assert house.count(job_id, "round-closed") == 8
