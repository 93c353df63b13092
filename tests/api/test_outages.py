"""A database or a disk that is away for a moment costs time, and no job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from api.db.session import engine_of
from api.settings import Settings
from tests.api.house import House
from tests.api.test_coordinators import fails_times

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

AWAY = OperationalError("SELECT 1", {}, Exception("the server closed the connection"))


@contextmanager
def database_away(settings: Settings) -> Iterator[None]:
    """Nobody can open the database inside."""
    path = Path(make_url(settings.database).database or "")
    aside = path.with_name("aside.db")
    engine_of(settings.database).dispose()
    path.rename(aside)
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        aside.rename(path)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/1/rounds", "/v1/methods"])
def test_a_request_is_told_to_come_again(client: TestClient, settings: Settings, path: str) -> None:
    with database_away(settings):
        answer = client.get(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:fedkrso:problem:unavailable"
    assert client.get(path).status_code in (200, 404)


def test_a_database_that_is_gone_is_not_begun_anew(client: TestClient, settings: Settings) -> None:
    path = Path(make_url(settings.database).database or "")
    engine_of(settings.database).dispose()
    path.rename(path.with_name("moved.db"))
    assert client.get("/v1/jobs").status_code == 503
    assert not path.exists()
    path.with_name("moved.db").rename(path)
    assert client.get("/v1/jobs").status_code == 200


def test_a_coordinator_without_its_database_does_no_harm(house: House) -> None:
    job_id = house.job(clients=1)
    with database_away(house.settings):
        for _ in range(5):
            house.advance(job_id)
    house.advance(job_id)
    house.finish_round(job_id)
    assert (house.get(job_id).state, house.get(job_id).errors) == ("done", 0)


def test_an_outage_half_way_is_no_error_of_the_job(house: House) -> None:
    house.store.before = fails_times(5, AWAY)
    job_id = house.job(clients=1)
    for _ in range(5):
        house.advance(job_id)
    assert (house.get(job_id).state, house.get(job_id).errors) == ("queued", 0)
    house.advance(job_id)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"


def test_a_job_waits_for_its_blobs_and_says_so_once(house: House) -> None:
    house.store.before = fails_times(5, ConnectionError("the store of blobs does not answer"))
    job_id = house.job(clients=1)
    for _ in range(6):
        house.advance(job_id)
    said = [event.text for event in house.events(job_id) if event.kind == "outage"]
    assert said == ["The job cannot go on for now: the store of blobs does not answer"]
    house.finish_round(job_id)
    assert (house.get(job_id).state, house.get(job_id).errors) == ("done", 0)


def once(call: Callable[[], None]) -> Callable[[], None]:
    left = [call]
    return lambda: left.pop()() if left else None


def test_an_aggregation_outlasts_the_database(house: House) -> None:
    house.settings.aggregate_lease_s = 0.2
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())

    def away() -> None:
        with database_away(house.settings):
            time.sleep(0.3)

    house.store.before = once(away)
    house.advance(job_id)
    assert house.get(job_id).state == "done"
    assert house.count(job_id, "round-closed") == 1
