"""Who answers first must not decide the bits of the model; on both databases."""

from __future__ import annotations

from itertools import permutations

from api.db import rounds
from api.db.session import reading
from tests.api.house import House, toy_update

# the mean of these in float32 depends on their order: 1e8 swallows what is added to it
VALUES = [(1e8, 1.0), (1.0, -1e8), (-1e8, 1e8)]


def state_after(house: House, arrival: tuple[int, ...]) -> str:
    """The digest of the state after a round whose clients hand in in this order."""
    job_id = house.open_job(clients=3)
    seats = {seat.client: seat for seat in (house.claim(f"w{i}") for i in range(3))}
    for client in arrival:
        house.hand_in(seats[client], toy_update(VALUES[client]))
    house.advance(job_id)
    digest = house.round(job_id).digest
    assert digest is not None
    return digest


def test_the_order_of_arrival_does_not_change_the_new_state(house: House) -> None:
    digests = {state_after(house, arrival) for arrival in permutations(range(3))}
    assert len(digests) == 1


def test_updates_are_read_in_the_order_of_the_clients(house: House) -> None:
    job_id = house.open_job(clients=3)
    house.finish_round(job_id)
    with reading(house.engine) as session:
        assert [seat.client for seat in rounds.seats(session, job_id, 1)] == [0, 1, 2]
