"""Pause, resume, retry and clone; on both databases."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.coordinator import hold
from api.db import rounds
from api.services import jobs, life
from fedkrso_core.errors import DataError
from tests.api.exchange import as_worker
from tests.api.house import House, is_refused, toy_update
from tests.api.toy import ToyStore


def pause(house: House, job_id: str) -> None:
    life.pause(house.engine, job_id)


def resume(house: House, job_id: str) -> None:
    life.resume(house.engine, house.settings, job_id)


def retry(house: House, job_id: str) -> None:
    life.retry(house.engine, house.settings, job_id)


def test_a_paused_job_keeps_its_updates_and_gives_no_work(house: House) -> None:
    job_id = house.open_job(clients=3)
    house.hand_in(house.claim())
    training = house.claim()
    pause(house, job_id)
    assert house.get(job_id).state == "paused"
    assert house.claim_or_none() is None
    assert [seat.state for seat in house.seats(job_id)] == ["done", "pending", "pending"]
    is_refused(409, "stale-lease", lambda: house.heartbeat(training))
    is_refused(409, "stale-lease", lambda: house.hand_in(training))


def test_a_lease_that_a_pause_took_back_costs_no_attempt(house: House) -> None:
    house.settings.max_attempts = 1
    job_id = house.open_job(clients=1)
    for _ in range(3):
        house.claim()
        pause(house, job_id)
        assert house.seats(job_id)[0].attempt == 0
        resume(house, job_id)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"


def test_a_paused_job_is_told_so_at_the_heartbeat(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim()
    assert client.post(f"/v1/jobs/{job_id}/pause").json()["state"] == "paused"
    headers = {**as_worker(), "X-Lease-Token": seat.lease_token}
    answer = client.post(f"/v1/assignments/{seat.id}/heartbeat", json={"step": 1}, headers=headers)
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith("is pending: the job was paused")


def test_the_work_of_a_resumed_job_is_announced_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = house.open_job(clients=3)
    house.claim()
    pause(house, job_id)
    hints: list[int] = []
    monkeypatch.setattr("api.queue.hint_training", hints.append)
    resume(house, job_id)
    house.advance(job_id)
    house.advance(job_id)
    assert sum(hints) == 3


def test_the_clocks_of_a_paused_job_stand_still(house: House) -> None:
    job_id = house.open_job(clients=1)
    pause(house, job_id)
    stopped = house.get(job_id).stopped_at
    assert stopped is not None
    deadline = house.round(job_id).deadline
    house.set_job(job_id, stopped_at=stopped - 500)  # as if it had been paused for so long
    house.set_round(job_id, deadline=deadline - 500)
    house.deadline_passes(job_id, 1)
    passed = house.round(job_id).deadline
    house.advance(job_id)
    assert house.get(job_id).state == "paused"  # the deadline did nothing
    resume(house, job_id)
    job, row = house.get(job_id), house.round(job_id)
    assert job.state == "running"
    assert job.stopped_at is None
    assert row.deadline - passed == pytest.approx(job.stopped_s)
    assert job.stopped_s == row.stopped_s == pytest.approx(500, abs=60)
    house.advance(job_id)
    assert not house.round(job_id).extended


def test_the_time_of_a_pause_does_not_count_for_the_budget(house: House) -> None:
    budget = {"seconds": 100}
    job_id = house.open_job(clients=1, rounds=2, budget=budget)
    started = house.get(job_id).started_at
    assert started is not None
    pause(house, job_id)
    house.set_job(job_id, started_at=started - 500, stopped_at=started - 500)
    resume(house, job_id)
    house.finish_round(job_id)
    house.finish_round(job_id)
    assert (house.get(job_id).rounds_closed, house.get(job_id).reason) == (2, None)


def test_a_job_can_be_paused_before_it_starts(house: House) -> None:
    job_id = house.job(clients=1)
    pause(house, job_id)
    house.advance(job_id)
    assert house.get(job_id).state == "paused"
    resume(house, job_id)
    assert house.get(job_id).state == "queued"
    house.advance(job_id)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    assert house.get(job_id).stopped_s == 0


def test_an_aggregation_in_flight_closes_its_round_and_opens_no_next_one(house: House) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    house.hand_in(house.claim())

    def meanwhile() -> None:
        house.store.before = lambda: None
        pause(house, job_id)

    house.store.before = meanwhile
    house.advance(job_id)
    job = house.get(job_id)
    assert (job.state, job.rounds_closed) == ("paused", 1)
    assert len(house.rounds(job_id)) == 2
    resume(house, job_id)
    house.advance(job_id)
    assert house.round(job_id, 2).state == "collecting"


def test_no_aggregation_begins_in_a_pause(house: House) -> None:
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())
    pause(house, job_id)
    with hold.held(house.store, house.get(job_id), 1, rounds.start_aggregating) as mine:
        assert mine is None
    assert house.round(job_id).state == "collecting"


def test_a_pause_in_the_middle_leaves_the_same_model(house: House) -> None:
    shas = set()
    for pauses in (False, True):
        job_id = house.open_job(clients=2, rounds=2)
        house.hand_in(house.claim(), toy_update((1.0, 2.0)))
        if pauses:
            house.claim()
            pause(house, job_id)
            resume(house, job_id)
        house.hand_in(house.claim(), toy_update((5.0, 2.0)))
        house.advance(job_id)
        house.finish_round(job_id)
        assert house.get(job_id).state == "done"
        shas.add(house.get(job_id).model_sha256)
    assert len(shas) == 1


def test_a_paused_job_can_be_cancelled(house: House) -> None:
    job_id = house.open_job(clients=1)
    pause(house, job_id)
    assert jobs.cancel(house.engine, job_id).state == "cancelled"
    is_refused(409, "conflict", lambda: resume(house, job_id))


def test_only_what_is_open_can_be_paused_and_only_what_is_paused_resumed(house: House) -> None:
    job_id = house.open_job(clients=1)
    is_refused(409, "conflict", lambda: resume(house, job_id))
    pause(house, job_id)
    is_refused(409, "conflict", lambda: pause(house, job_id))
    resume(house, job_id)
    house.finish_round(job_id)
    is_refused(409, "conflict", lambda: pause(house, job_id))
    is_refused(409, "conflict", lambda: retry(house, job_id))


def test_a_cancel_ends_a_long_evaluation(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "LOOK_S", 0.05)
    job_id = house.open_job(clients=1)
    house.hand_in(house.claim())
    work, evaluating, batches = house.store.workload(house.get(job_id)), threading.Event(), [0]

    def evaluate(before_batch: Any) -> dict[str, float]:
        for _ in range(2000):
            evaluating.set()
            before_batch()
            batches[0] += 1
            time.sleep(0.02)
        return {"accuracy": 0.5}

    monkeypatch.setattr(work, "evaluate", evaluate)
    monkeypatch.setattr(house.store, "workload", lambda _: work)
    coordinator = threading.Thread(target=house.advance, args=(job_id,))
    coordinator.start()
    assert evaluating.wait(30)
    jobs.cancel(house.engine, job_id)
    coordinator.join(30)
    assert not coordinator.is_alive()
    assert batches[0] < 2000
    assert (house.get(job_id).state, house.get(job_id).errors) == ("cancelled", 0)


def failed(house: House, rounds: int = 2) -> str:
    """A job that failed in round 2 with one update accepted."""
    house.settings.max_attempts = 1
    job_id = house.open_job(clients=3, rounds=rounds, clients_rules={"min_clients": 3})
    house.finish_round(job_id)
    house.hand_in(house.claim())
    house.give_back(house.claim(), "out of memory")
    house.advance(job_id)
    assert house.get(job_id).state == "failed"
    return job_id


def test_a_retried_job_goes_on_in_the_round_in_which_it_failed(house: House) -> None:
    job_id = failed(house)
    kept = house.seats(job_id, 2)[0].digest
    retry(house, job_id)
    job, row = house.get(job_id), house.round(job_id, 2)
    assert (job.state, job.reason, job.finished_at) == ("running", None, None)
    assert row.state == "collecting"
    assert row.deadline > time.time() + house.settings.round_deadline_s - 60
    states = [(seat.state, seat.attempt) for seat in house.seats(job_id, 2)]
    assert states == [("done", 1), ("pending", 0), ("pending", 0)]
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    assert house.seats(job_id, 2)[0].digest == kept
    assert house.count(job_id, "round-opened") == 2
    retried = next(e.text for e in house.events(job_id) if e.kind == "retried")
    assert retried == "Job retried: round 2 is open again, 1 updates kept, 2 clients to go"


def test_a_lease_from_before_the_failure_is_worth_nothing_after_the_retry(house: House) -> None:
    house.settings.max_attempts = 1
    job_id = house.open_job(clients=2, clients_rules={"min_clients": 2})
    old = house.claim()
    house.give_back(house.claim())
    house.advance(job_id)
    retry(house, job_id)
    is_refused(409, "stale-lease", lambda: house.hand_in(old))


def test_a_job_that_could_not_start_is_started_by_a_retry(house: House) -> None:
    def broken() -> None:
        raise DataError("the rows are gone")

    house.store.before = broken
    job_id = house.job(clients=1)
    house.advance(job_id)
    assert house.get(job_id).state == "failed"
    house.store = ToyStore()
    retry(house, job_id)
    house.advance(job_id)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"


def test_a_failed_aggregation_is_done_again_with_all_its_updates(house: House) -> None:
    job_id = house.open_job(clients=2)
    for _ in range(2):
        house.hand_in(house.claim())
    house.store.before = lambda: (_ for _ in ()).throw(DataError("the model is gone"))
    house.advance(job_id)
    assert house.get(job_id).state == "failed"
    house.store = ToyStore()
    retry(house, job_id)
    house.advance(job_id)
    assert house.get(job_id).state == "done"
    assert house.count(job_id, "update") == 2


def test_the_routes_answer_the_job_and_note_what_happened(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=1)
    for act, state in {"pause": "paused", "resume": "running"}.items():
        answer = client.post(f"/v1/jobs/{job_id}/{act}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        f"job {job_id} is running: it cannot be retried; only a failed job can be"
    )
    texts = [event.text for event in house.events(job_id)][-2:]
    assert texts == ["Job paused by a user", "Job resumed by a user"]
    for act in ("pause", "resume", "retry", "clone"):
        assert client.post(f"/v1/jobs/gone/{act}").status_code == 404
    assert client.patch("/v1/jobs/gone", json={"priority": 1}).status_code == 404
