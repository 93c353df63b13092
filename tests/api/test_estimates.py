from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.schemas import EstimateOut
from fedkrso_core import estimate as core
from fedkrso_core.forecast import Footprint, Forecast, Forecasts
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import JobSpec
from tests.api.test_jobs_routes import BAD, errors_of

# nothing of an estimate is in the database
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Json = dict[str, Any]
MakeJob = Callable[..., Json]
MEMORY = Footprint(weights=60, gradients=10, optimizer=20, activations=10, peak=100, process=2000)


class FakeCore:
    """Forecasts nothing but memory; `during` runs while it is at work."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str] | None] = []
        self.during: Callable[[], None] = lambda: None

    def estimate(self, spec: JobSpec, methods: Sequence[str] | None = None) -> Forecasts:
        self.asked.append(methods)
        self.during()
        own = Forecast(method=spec.method.name, title="T", memory=MEMORY)
        return Forecasts(job=spec.name, device="cpu, 1 thread", forecasts=[own])


@pytest.fixture
def fake_core(monkeypatch: pytest.MonkeyPatch) -> FakeCore:
    fake = FakeCore()
    monkeypatch.setattr(core, "estimate", fake.estimate, raising=False)
    return fake


def test_methods_to_compare_with_are_names_or_all(
    client: TestClient, fake_core: FakeCore, tiny_job: MakeJob
) -> None:
    for query in ("", "?methods=all", "?methods=fedavg,%20fedit"):
        assert client.post(f"/v1/jobs:estimate{query}", json=tiny_job()).status_code == 200
    assert fake_core.asked == [[], ["all"], ["fedavg", "fedit"]]


def test_a_limit_that_the_job_is_above_is_in_the_answer(
    client: TestClient, fake_core: FakeCore, tiny_job: MakeJob
) -> None:
    fitting = client.post("/v1/jobs:estimate", json=tiny_job(budget={"memory": "2kB"})).json()
    assert fitting["over_budget"] == {}
    assert fitting["forecasts"][0]["memory"]["process"] == 2000
    tight = client.post("/v1/jobs:estimate", json=tiny_job(budget={"memory": 1999})).json()
    (problem,) = tight["over_budget"]["fedkrso"]
    assert (problem["field"], problem["value"]) == ("budget.memory", 1999)


def test_estimates_take_turns_and_hold_up_nobody_else(
    client: TestClient, fake_core: FakeCore, tiny_job: MakeJob
) -> None:
    busy = threading.Lock()
    measured = threading.Event()

    def measure() -> None:
        assert busy.acquire(blocking=False), "two at once"
        measured.wait(10)
        busy.release()

    fake_core.during = measure
    with ThreadPoolExecutor(50) as users:
        # as many as the framework has threads for all routes together, and more
        waiting = [
            users.submit(client.post, "/v1/jobs:estimate", json=tiny_job()) for _ in range(50)
        ]
        while not fake_core.asked:
            time.sleep(0.01)
        assert client.get("/v1/jobs").status_code == 200
        measured.set()
        assert {answer.result().status_code for answer in waiting} == {200}


@pytest.mark.parametrize(("changed", "field", "value", "message"), BAD.values(), ids=BAD)
def test_a_job_that_cannot_run_is_refused_as_at_submit(
    client: TestClient, tiny_job: MakeJob, changed: Json, field: str, value: Any, message: str
) -> None:
    answer = client.post("/v1/jobs:estimate", json=tiny_job(**changed))
    assert answer.json() == client.post("/v1/jobs", json=tiny_job(**changed)).json()
    (error,) = errors_of(answer, 422)
    assert (error["field"], error["value"]) == (field, value)
    assert message in error["message"]


def test_a_method_that_does_not_exist_is_refused(client: TestClient, tiny_job: MakeJob) -> None:
    (error,) = errors_of(client.post("/v1/jobs:estimate?methods=magic", json=tiny_job()), 422)
    assert "'magic'" in error["message"]


def test_every_method_is_forecast_beside_the_jobs_own(
    client: TestClient, tiny_job: MakeJob
) -> None:
    answer = client.post("/v1/jobs:estimate?methods=all", json=tiny_job())
    assert answer.status_code == 200, answer.text
    found = EstimateOut.model_validate(answer.json())
    assert found.forecasts[0].method == "fedkrso"
    assert {item.method for item in found.forecasts} == set(METHODS)
    own = found.forecasts[0]
    assert own.refused is None
    assert own.traffic is not None
    assert own.memory is not None
    assert own.pace is not None
    parts = own.memory
    assert parts.peak == parts.weights + parts.gradients + parts.optimizer + parts.activations
    assert set(own.pace.precision) == {"fp32", "medium", "bf16"}
    assert len(own.traffic.rounds) == 2
    assert client.get("/v1/jobs").json()["items"] == []


def test_a_job_above_its_budget_is_estimated_and_not_accepted(
    client: TestClient, tiny_job: MakeJob
) -> None:
    job = tiny_job(budget={"bytes_up": 10})
    over = client.post("/v1/jobs:estimate", json=job).json()["over_budget"]["fedkrso"]
    assert [problem["field"] for problem in over] == ["budget.bytes_up"]
    assert errors_of(client.post("/v1/jobs", json=job), 422) == over
