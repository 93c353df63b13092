"""Redis and PostgreSQL go away and come back while a job runs; the broker comes back empty."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.flow import servers
from tests.flow.proof import Undisturbed, assert_unharmed
from tests.flow.rig import Rig, environ_of, until

pytestmark = [pytest.mark.slow, pytest.mark.services]


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.Postgres]:
    made = servers.Postgres()
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def redis() -> Iterator[servers.Redis]:
    made = servers.Redis()
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def rig(
    postgres: servers.Postgres, redis: servers.Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    environ = environ_of(FEDKRSO_DATABASE_URL=postgres.url, FEDKRSO_BROKER_URL=redis.url)
    with Rig(tmp_path_factory.mktemp("outages") / "home", environ, workers=1) as made:
        made.start_all("worker1")
        made.start("worker1-prefork")
        yield made


def closed(rig: Rig, job_id: str, rounds: int) -> None:
    until(lambda: rig.job(job_id)["rounds_closed"] >= rounds, f"{rounds} rounds are closed")


def test_a_prefork_parent_never_loads_torch_and_its_child_does(
    rig: Rig, undisturbed_job: Undisturbed
) -> None:
    job_id = rig.submit(undisturbed_job.spec)
    assert_unharmed(rig, job_id, undisturbed_job)
    parent = psutil.Process(rig.running["worker1-prefork"].pid)
    (child,) = parent.children()
    assert "libtorch" in servers.maps(child.pid)
    assert "libtorch" not in servers.maps(parent.pid)


def test_redis_that_is_killed_and_comes_back_empty(
    rig: Rig, redis: servers.Redis, undisturbed_job: Undisturbed
) -> None:
    job_id = rig.submit(undisturbed_job.spec)
    for rounds in range(len(undisturbed_job.rounds)):
        redis.kill()
        time.sleep(random.random())
        redis.start()
        closed(rig, job_id, rounds)
    assert_unharmed(rig, job_id, undisturbed_job)


def test_postgresql_that_stops_at_once_and_recovers(
    rig: Rig, postgres: servers.Postgres, undisturbed_job: Undisturbed
) -> None:
    job_id = rig.submit(undisturbed_job.spec)
    for rounds in range(len(undisturbed_job.rounds)):
        closed(rig, job_id, rounds)
        time.sleep(random.random())
        postgres.stop_at_once()
        assert rig.http.get("/v1/jobs").status_code == 503
        time.sleep(random.random())
        postgres.start()
    assert_unharmed(rig, job_id, undisturbed_job)
