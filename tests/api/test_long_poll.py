"""Claims that wait: a worker has its answer when a round opens, and nobody else pays for it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi.testclient import TestClient

from api.services import long_poll
from tests.api.exchange import as_worker
from tests.api.house import House

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def claim(http: TestClient, worker: str, wait_s: float) -> httpx.Response:
    body = {"worker": worker, "wait_s": wait_s}
    return http.post("/v1/assignments/claim", json=body, headers=as_worker())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the database was looked at for those who wait."""
    times: list[float] = []
    look = long_poll._is_work_there

    def noted(engine: object) -> bool:
        times.append(time.monotonic())
        return look(engine)  # type: ignore[arg-type]

    monkeypatch.setattr(long_poll, "_is_work_there", noted)
    return times


def test_a_worker_that_waits_is_given_what_opens_meanwhile(
    house: House, client: TestClient, looks: list[float]
) -> None:
    job_id = house.job(clients=1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(claim, client, "w1", 60.0)
        while not looks:
            time.sleep(0.01)
        house.advance(job_id)
        assert answer.result().json()["job"] == job_id


def test_a_look_is_for_all_who_wait(house: House, looks: list[float]) -> None:
    house.open_job(clients=1)

    async def hundred() -> list[bool]:
        return await asyncio.gather(*(long_poll._glance(house.engine) for _ in range(100)))

    assert asyncio.run(hundred()) == [True] * 100
    assert len(looks) == 1
