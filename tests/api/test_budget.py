"""Jobs with a budget: refused when they cannot fit, ended in good order when it is used up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from api.coordinator import rounds as steps
from api.coordinator import starting
from api.coordinator.snapshot import view_of
from api.db.session import reading, writing
from api.db.tables import Export, Job
from api.services import jobs
from fedkrso_core import engine as core
from fedkrso_core import estimate as estimating
from fedkrso_core.errors import PayloadError
from tests.api.exchange import submit
from tests.api.house import House, toy_update
from tests.oracle import Oracle

Json = dict[str, Any]
MakeJob = Callable[..., Json]
SIZE = len(toy_update())


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    made = Oracle()
    monkeypatch.setattr(estimating, "estimate", made.estimate, raising=False)
    return made


def test_a_job_above_its_budget_is_refused_with_the_numbers(
    client: TestClient, tiny_job: MakeJob, oracle: Oracle
) -> None:
    oracle.uploads, oracle.memory, oracle.seconds = [600_000] * 2, 3_000_000, 90.0
    budget = {"bytes_up": "1MB", "memory": "2MB", "seconds": 60}
    answer = client.post("/v1/jobs", json=tiny_job(budget=budget))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:fedkrso:problem:invalid-job")
    upload, memory, seconds = answer.json()["errors"]
    assert upload == {
        "field": "budget.bytes_up",
        "value": 1_000_000,
        "message": "1.0 MB, but the job sends 1.2 MB: 2 rounds of about 600.0 kB; "
        "allowed: from 1.2 MB, or at most 1 round",
    }
    assert (memory["field"], memory["value"]) == ("budget.memory", 2_000_000)
    assert (seconds["field"], seconds["value"]) == ("budget.seconds", 60.0)
    assert "estimated on this machine" in seconds["message"]
    assert client.get("/v1/jobs").json()["items"] == []


def test_a_job_without_a_budget_pays_for_no_forecast(
    client: TestClient, tiny_job: MakeJob, oracle: Oracle
) -> None:
    submit(client, tiny_job())
    assert oracle.asked == []


def test_a_job_keeps_the_forecast_that_it_was_let_in_with(
    client: TestClient, tiny_job: MakeJob, oracle: Oracle, house: House
) -> None:
    oracle.uploads = [500, 700]
    limited = submit(client, tiny_job(budget={"bytes_up": "1200 B"}))
    other = submit(client, tiny_job(budget={"memory": "1GB"}))
    assert [kept_forecast(house, job_id) for job_id in (limited, other)] == [[500, 700], None]


def test_estimates_at_submit_wait_for_each_other(
    client: TestClient, tiny_job: MakeJob, oracle: Oracle
) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: submit(client, tiny_job(budget={"seconds": 60})), range(3)))
    assert len(oracle.threads) == 3
    assert set(oracle.threads) == {"estimate_0"}  # the one thread that makes estimates


def kept_forecast(house: House, job_id: str) -> list[int] | None:
    with reading(house.engine) as session:
        return session.get_one(Job, job_id).forecast_up


def limited_job(house: House, budget: Json, **changed: Any) -> str:
    """A job of three rounds with one client, the first round open."""
    return house.open_job(1, 3, forecast_up=[SIZE] * 3, budget=budget, **changed)


def stopped(house: House, job_id: str, closed: int) -> str:
    """The reason of a job that must have ended in good order after that many of three rounds."""
    job = house.get(job_id)
    assert (job.state, job.rounds_closed, job.rounds) == ("done", closed, 3)
    assert [row.state for row in house.rounds(job_id)] == ["closed"] * (closed + 1)
    assert {seat.state for seat in house.seats(job_id)} == {"done"}
    assert house.claim_or_none() is None
    last = house.events(job_id)[-1]
    assert (last.kind, job.finished_at) == ("done", last.at)
    assert last.text == f"Job stopped after round {closed} of 3: {job.reason}"
    assert job.reason is not None
    return job.reason


def test_a_job_that_fits_exactly_trains_all_its_rounds(house: House) -> None:
    job_id = limited_job(house, {"bytes_up": 3 * SIZE, "memory": 1000, "seconds": 60})
    for _ in range(3):
        house.finish_round(job_id)
    job = house.get(job_id)
    assert (job.state, job.rounds_closed, job.reason) == ("done", 3, None)
    assert house.events(job_id)[-1].text == "Job done"


def test_uploads_that_were_refused_use_up_the_budget(house: House) -> None:
    job_id = limited_job(house, {"bytes_up": 3 * SIZE})
    seat = house.claim()
    with pytest.raises(PayloadError):
        house.hand_in(seat, toy_update((float("nan"), 1.0)))
    house.hand_in(seat)
    house.advance(job_id)
    assert house.get(job_id).state == "running"
    house.finish_round(job_id)
    assert stopped(house, job_id, 2) == (
        f"budget.bytes_up: {3 * SIZE} B of {3 * SIZE} B used "
        f"({SIZE} B of it refused or sent twice); round 3 needs {SIZE} B"
    )


def test_an_update_that_is_sent_twice_counts_twice_for_the_budget_alone(house: House) -> None:
    limited_job(house, {"bytes_up": 3 * SIZE})
    seat = house.claim()
    for _ in range(2):
        house.hand_in(seat)
    (shown,) = jobs.round_clients(house.engine, seat.job, 1)
    assert (shown.bytes_up, shown.bytes_up_lost) == (SIZE, SIZE)
    assert jobs.get(house.engine, seat.job).bytes_up == SIZE


def test_a_client_above_the_memory_ends_the_job_after_its_round(house: House) -> None:
    job_id = house.open_job(2, 3, budget={"memory": 5000})
    house.hand_in(house.claim(), peak_memory_bytes=5001)
    house.advance(job_id)
    assert house.round(job_id).state == "collecting"
    house.finish_round(job_id)
    assert [seat.state for seat in house.seats(job_id, 1)] == ["done", "done"]
    reason = "budget.memory: a client reported 5.1 kB of 5.0 kB allowed"
    assert stopped(house, job_id, 1) == reason


def test_the_round_in_which_the_time_passes_is_completed(house: House) -> None:
    job_id = limited_job(house, {"seconds": 60})
    house.finish_round(job_id)
    seat = house.claim()
    house.set_job(job_id, started_at=time.time() - 61)
    house.advance(job_id)
    assert house.round(job_id, 2).state == "collecting"
    house.hand_in(seat)
    house.advance(job_id)
    assert stopped(house, job_id, 2).endswith(" of 60 s used")


def test_a_round_that_would_take_too_long_is_not_opened(house: House) -> None:
    job_id = limited_job(house, {"seconds": 60})
    house.finish_round(job_id)
    now = time.time()
    house.set_job(job_id, started_at=now - 40)
    for number in (1, 2):  # the second round is as quick as the first
        house.set_round(job_id, number, opened_at=now - 29.5)
    house.set_round(job_id, 1, closed_at=now)
    house.finish_round(job_id)
    assert stopped(house, job_id, 2).endswith("of 60 s used; the quickest round so far took 30 s")


def test_the_first_round_is_trained_even_if_the_start_took_all_the_time(house: House) -> None:
    job_id = house.job(1, 3, budget={"seconds": 60})
    starting.start(house.store, house.get(job_id))
    house.set_job(job_id, started_at=time.time() - 3600)
    house.advance(job_id)
    house.finish_round(job_id)
    stopped(house, job_id, 1)


def test_the_final_model_is_that_of_the_last_closed_round(house: House) -> None:
    job_id = house.open_job(1, 3, budget={"memory": 5000})
    house.hand_in(house.claim(), toy_update((1.0, 2.0)))
    house.advance(job_id)
    house.hand_in(house.claim(), toy_update((3.0, 4.0)), peak_memory_bytes=6000)
    house.advance(job_id)
    stopped(house, job_id, 2)
    model = house.store.workload(house.get(job_id)).global_model
    model.materialize(house.store.chain(job_id, 2))
    assert torch.equal(model.total, torch.tensor([4.0, 6.0]))
    assert house.get(job_id).model_sha256 == model.sha256()
    with reading(house.engine) as session:
        assert session.get_one(Export, (job_id, 2)).state == "building"


def test_a_last_round_that_was_not_due_is_measured_at_the_end(house: House) -> None:
    job_id = limited_job(house, {"memory": 5000}, evaluate={"every": 2})
    house.hand_in(house.claim(), peak_memory_bytes=6000)
    house.advance(job_id)
    stopped(house, job_id, 1)
    assert house.round(job_id).metrics == {"accuracy": 0.5, "loss": 1.0}
    assert jobs.get(house.engine, job_id).metrics == {"accuracy": 0.5, "loss": 1.0}


def test_a_folder_that_was_built_before_the_end_is_built_again(house: House) -> None:
    job_id = limited_job(house, {"memory": 5000})
    fail_at_the_end(house, job_id)
    with writing(house.engine) as session:
        session.add(Export(job_id=job_id, number=1, state="ready", requested_at=1.0, digest="0"))
    house.advance(job_id)
    with reading(house.engine) as session:
        assert session.get_one(Export, (job_id, 1)).state == "building"


def fail_at_the_end(house: House, job_id: str) -> None:
    """Its client had too much memory, and the coordinator dies after closing the round."""
    house.hand_in(house.claim(), peak_memory_bytes=6000)
    assert steps.aggregate(house.store, house.get(job_id), 1)
    assert (house.get(job_id).state, house.round(job_id).state) == ("running", "closed")


def test_a_coordinator_that_died_after_the_last_round_is_replaced(house: House) -> None:
    job_id = limited_job(house, {"memory": 5000})
    fail_at_the_end(house, job_id)
    assert len(house.rounds(job_id)) == 2
    assert jobs.get(house.engine, job_id).waiting_for == "a coordinator to finish the job"
    house.advance(job_id)
    assert stopped(house, job_id, 1).startswith("budget.memory: ")
    assert house.count(job_id, "done") == 1


def test_an_error_at_the_end_is_tried_again_with_the_same_decision(house: House) -> None:
    job_id = limited_job(house, {"memory": 5000})
    fail_at_the_end(house, job_id)

    def fail() -> None:
        house.store.before = lambda: None
        raise RuntimeError("boom")

    house.store.before = fail
    house.advance(job_id)
    assert house.get(job_id).state == "running"
    house.advance(job_id)
    stopped(house, job_id, 1)


def test_many_coordinators_stop_a_job_once(house: House) -> None:
    job_id = limited_job(house, {"memory": 5000})
    house.hand_in(house.claim(), peak_memory_bytes=6000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(house.advance, [job_id] * 4))
    house.advance(job_id)
    stopped(house, job_id, 1)
    assert house.count(job_id, "done") == 1
    assert house.get(job_id).errors == 0


def test_a_job_whose_next_round_another_opened_is_not_finished(house: House) -> None:
    job_id = limited_job(house, {"seconds": 60})
    before = house.get(job_id)
    house.finish_round(job_id)
    # a slow clock: this coordinator decided to stop when the other had opened the next round
    before.rounds_closed = 1
    steps.finish(house.store, before, "budget.seconds: 61 s of 60 s used")
    assert house.get(job_id).state == "running"
    assert house.round(job_id, 2).state == "collecting"


def test_a_job_from_before_there_were_budgets_has_none(house: House) -> None:
    job_id = house.job(1, 3)
    spec = {name: part for name, part in house.get(job_id).spec.items() if name != "budget"}
    house.set_job(job_id, spec=spec)
    with reading(house.engine) as session:
        assert view_of(session, session.get_one(Job, job_id)) == core.JobView(3, 0)
