"""Each process of the service killed at its worst moments; the job is as if nothing had been.

Embedded default: SQLite and a queue of files. One service is there for all tests of this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery import Celery

from messaging.queues import ADVANCE_TASK, TRAIN_TASK, Broker
from tests.api.exchange import Trainee, as_worker, put, train
from tests.flow.proof import Undisturbed, assert_unharmed
from tests.flow.rig import Rig, environ_of, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("kills") / "home", environ_of()) as made:
        yield made


def die_one_after_the_other(rig: Rig, name: str, *moments: str) -> None:
    """Has a process die at each moment, and starts it again for the next one."""
    rig.kill(*([name] if name in rig.running else []))
    for moment in moments:
        rig.start(name, moment)
        rig.wait_for_death(name)
    rig.start(name)


def test_a_worker_that_dies_while_it_trains_or_uploads(
    rig: Rig, undisturbed_job: Undisturbed
) -> None:
    rig.start("api")
    rig.start("coordinator")
    rig.wait_for_api()
    job_id = rig.submit(undisturbed_job.spec)
    die_one_after_the_other(rig, "worker1", "while-training", "while-uploading")
    assert_unharmed(rig, job_id, undisturbed_job)
    lost = [e["text"] for e in rig.events(job_id) if e["kind"] == "lease-lost"]
    assert len(lost) >= 2  # one for each death; a busy machine may be silent for a lease as well


def test_an_api_that_dies_while_it_receives_sends_or_is_about_to_answer(
    rig: Rig, undisturbed_job: Undisturbed
) -> None:
    rig.start_all()
    job_id = rig.submit(undisturbed_job.spec)
    die_one_after_the_other(rig, "api", "while-receiving", "while-sending", "before-answering")
    rig.wait_for_api()
    assert_unharmed(rig, job_id, undisturbed_job)


def test_a_coordinator_that_dies_in_and_around_an_aggregation(
    rig: Rig, undisturbed_job: Undisturbed
) -> None:
    rig.start_all()
    rig.kill("coordinator")
    job_id = rig.submit(undisturbed_job.spec)
    moments = ("while-aggregating", "before-closing", "after-closing", "while-measuring")
    die_one_after_the_other(rig, "coordinator", *moments)
    assert_unharmed(rig, job_id, undisturbed_job)


def test_hints_five_times_two_coordinators_and_clients_whose_clocks_are_wrong(
    rig: Rig, undisturbed_job: Undisturbed
) -> None:
    rig.start_all()
    rig.kill("worker1", "worker2")
    rig.start("worker1", "clock-an-hour-ahead")
    rig.start("worker2", "clock-an-hour-behind")
    rig.start("coordinator2")
    job_id = rig.submit(undisturbed_job.spec)
    app = Celery("flood")
    broker = Broker("filesystem://", rig.home.path / "queue")
    app.conf.update(broker.settings())
    with app:
        for closed in range(len(undisturbed_job.rounds)):
            until(lambda n=closed: rig.job(job_id)["rounds_closed"] >= n, f"round {closed} closes")
            for _ in range(5):
                app.send_task(TRAIN_TASK)
                app.send_task(ADVANCE_TASK, args=[job_id])
    assert_unharmed(rig, job_id, undisturbed_job)
    rig.kill("coordinator2", "worker1", "worker2")


def state_of(rig: Rig, job_id: str, client: int) -> str:
    (found,) = [seat for seat in rig.seats(job_id, 1) if seat["client"] == client]
    return str(found["state"])


def answers(http: httpx.Client, trained: Trainee, body: bytes) -> tuple[int, str]:
    answer = put(http, trained.assignment, body)
    return answer.status_code, answer.json().get("type", "").rpartition(":")[2]


def test_a_client_that_is_late_sends_twice_or_has_lost_its_lease(
    rig: Rig, undisturbed_job: Undisturbed, tmp_path: Path
) -> None:
    rig.kill(*[name for name in rig.running if name.startswith("worker")])
    rig.start_all("worker1", "worker2")
    job_id = rig.submit(undisturbed_job.spec)
    with rig.client(as_worker()) as http:
        until(lambda: rig.seats(job_id, 1), "round 1 opens")
        slow = train(http, tmp_path, "slow")
        client = slow.assignment["client"]
        until(lambda: state_of(rig, job_id, client) == "pending", "its lease runs out")
        successor = train(http, tmp_path, "other")
        assert successor.assignment["client"] == client
        assert successor.body == slow.body
        assert answers(http, slow, slow.body) == (409, "stale-lease")
        for _ in range(2):
            assert answers(http, successor, successor.body) == (200, "")
        assert answers(http, slow, slow.body) == (409, "stale-lease")
        other_bytes = successor.with_scalar("metrics", {"loss": 9.0})
        assert answers(http, successor, other_bytes) == (409, "conflict")
        # away for longer than its lease, but nobody took its work
        late = train(http, tmp_path, "late")
        client = late.assignment["client"]
        until(lambda: state_of(rig, job_id, client) == "pending", "its lease runs out")
        assert answers(http, late, late.body) == (200, "")
    rig.start("worker1")
    assert_unharmed(rig, job_id, undisturbed_job)
