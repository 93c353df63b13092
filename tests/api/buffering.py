"""A round of a toy job computed anew."""

from __future__ import annotations

from api.coordinator.hold import Watch
from api.coordinator.rounds import _inputs
from fedkrso_core.payload import digest, encode
from tests.api.house import House


def replayed(house: House, job_id: str, number: int) -> str:
    """The digest of a round's state, computed anew from what the tables say was counted."""
    watch = Watch(house.store, lambda _: True, 1.0)  # type: ignore[arg-type]
    inputs = _inputs(house.store, job_id, number, watch)  # type: ignore[arg-type]
    return digest(encode(house.store.workload(house.get(job_id)).aggregate(*inputs).state))
