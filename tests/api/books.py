"""What must be true of a toy job's rows at any moment, whoever did what before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from api.db.tables import Assignment
from fedkrso_core.method import unpack
from tests.api.house import House, toy_update

SIZE = len(toy_update())


def seats_are_possible(house: House, seats: Sequence[Assignment]) -> None:
    """A lease belongs to a leased seat, an update to a done one, attempts have an end."""
    last = house.settings.max_attempts
    for seat in seats:
        assert seat.lease_until is None or seat.lease_hash is not None
        assert (seat.digest is not None) == (seat.state == "done")
        match seat.state:
            case "pending":  # its last holder may come back
                assert seat.lease_until is None
                assert seat.attempt < last
            case "leased":
                assert seat.lease_until is not None
                assert 1 <= seat.attempt <= last
            case "failed":
                assert seat.lease_until is None
                assert seat.attempt == last
            case other:
                assert other in ("done", "cancelled")


def updates_are_counted_once(seats: Sequence[Assignment], accepted: Mapping[str, str]) -> None:
    """Every update that was answered with 200 is there with its metrics, and no other is."""
    done = [seat for seat in seats if seat.state == "done"]
    assert {seat.id: seat.digest for seat in done} == accepted
    for seat in done:
        assert (seat.bytes_up, seat.metrics) == (SIZE, {"loss": 1.0})
        assert (seat.peak_memory_bytes, seat.train_s) == (1000, 0.5)


def rounds_are_the_mean_of_their_updates(house: House, job_id: str) -> None:
    """Each closed round's state is made of all its accepted updates, each of them once."""
    for row in house.rounds(job_id)[1:]:
        if row.state != "closed":
            assert row.digest is None
            continue
        assert row.digest is not None
        done = [seat for seat in house.seats(job_id, row.number) if seat.state == "done"]
        found = house.store.payload(row.digest).tensors["w"]
        assert torch.allclose(found, _mean(house, done))


def _mean(house: House, done: Sequence[Assignment]) -> torch.Tensor:
    bodies = [house.store.blobs.read(seat.digest or "") for seat in done]
    return torch.stack([unpack(body).upload.tensors["w"] for body in bodies]).mean(0)
