"""A job in one process with a budget: refused before it starts, or stopped with all it learned."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from fedkrso_core import estimate as estimating
from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.models import weights_of
from fedkrso_core.payload import tensors_sha256
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from tests.oracle import Oracle

Jobs = Callable[..., JobSpec]


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    made = Oracle()
    monkeypatch.setattr(estimating, "estimate", made.estimate, raising=False)
    return made


def ledger(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def test_a_job_without_a_budget_pays_for_no_forecast(job: Jobs, oracle: Oracle) -> None:
    assert check(job()).bytes_up == ()
    assert oracle.asked == []


@pytest.mark.parametrize("name", ["bytes_up", "memory", "seconds"])
def test_a_job_that_cannot_fit_leaves_out_untouched(
    job: Jobs, oracle: Oracle, tmp_path: Path, name: str
) -> None:
    oracle.uploads, oracle.memory, oracle.seconds = [200_000] * 2, 300_000, 9e9
    with pytest.raises(SpecError) as refused:
        run(job(budget={name: 100_000}), tmp_path / "out")
    (problem,) = refused.value.problems
    assert (problem.field, problem.value) == (f"budget.{name}", 100_000)
    assert "allowed: from " in problem.message
    assert list(tmp_path.iterdir()) == []


def test_the_forecast_upload_of_each_round_is_kept_for_later(job: Jobs, oracle: Oracle) -> None:
    oracle.uploads = [5, 7]
    assert check(job(budget={"bytes_up": 12})).bytes_up == (5, 7)
    assert check(job(budget={"seconds": 60})).bytes_up == ()


def test_a_job_whose_forecast_is_true_trains_all_its_rounds(
    job: Jobs, oracle: Oracle, tmp_path: Path
) -> None:
    run(job(rounds=3), tmp_path / "free")
    sent = [record["bytes_up"] for record in ledger(tmp_path / "free")]
    # but for the digits of the metrics
    oracle.uploads = [bytes_up - 3 for bytes_up in sent]
    spec = job(rounds=3, budget={"bytes_up": sum(oracle.uploads)})
    summary = run(spec, tmp_path / "limited")
    assert (summary["rounds"], summary["stopped"]) == (3, None)


def test_the_upload_that_is_forecast_is_budget_enough(job: Jobs, tmp_path: Path) -> None:
    def limited(bytes_up: int) -> JobSpec:
        return job(rounds=3, clients={"per_round": 2}, budget={"bytes_up": bytes_up})

    traffic = estimating.estimate(limited(10**9)).forecasts[0].traffic
    assert traffic is not None
    summary = run(limited(traffic.bytes_up), tmp_path / "out")
    assert (summary["rounds"], summary["stopped"]) == (3, None)
    with pytest.raises(SpecError, match=r"budget\.bytes_up: .* or at most 2 rounds"):
        run(limited(traffic.bytes_up - 1), tmp_path / "refused")


def test_a_job_that_sends_more_than_forecast_ends_before_the_round_that_does_not_fit(
    job: Jobs, oracle: Oracle, tmp_path: Path
) -> None:
    run(job(rounds=3), tmp_path / "free")
    sent = [record["bytes_up"] for record in ledger(tmp_path / "free")]
    oracle.uploads = [1, 1, sent[2]]
    summary = run(job(rounds=3, budget={"bytes_up": sum(sent) - 1000}), tmp_path / "limited")
    assert summary["rounds"] == len(ledger(tmp_path / "limited")) == 2
    assert summary["stopped"].startswith("budget.bytes_up: ")
    assert "; round 3 needs " in summary["stopped"]


STOPPING = {"memory": "budget.memory: a client reported ", "seconds": "budget.seconds: "}


@pytest.mark.parametrize("name", STOPPING)
def test_a_job_that_stopped_early_leaves_all_that_it_learned(
    job: Jobs, oracle: Oracle, tmp_path: Path, name: str
) -> None:
    told: list[dict[str, Any]] = []
    limits = {"memory": 1000, "seconds": 1e-6}
    spec = job(rounds=5, evaluate={"every": 3}, budget={name: limits[name]})
    summary = run(spec, tmp_path, told.append)
    assert (summary["rounds"], summary["spec"]["rounds"]["count"]) == (1, 5)
    assert summary["stopped"].startswith(STOPPING[name])
    # the round was not due for an evaluation, but it is the last
    (record,) = ledger(tmp_path)
    assert record["metrics"] == summary["metrics"] != {}
    assert record["seconds"]["evaluate"] > 0
    assert told == [record]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert tensors_sha256(weights_of(model)) == summary["model_sha256"]
    assert "3 clients, 1 rounds" in (tmp_path / "model" / "README.md").read_text()


def test_a_job_that_stopped_early_has_the_model_of_a_shorter_job(
    job: Jobs, oracle: Oracle, tmp_path: Path
) -> None:
    stopped = run(job(rounds=5, budget={"memory": 1000}), tmp_path / "stopped")
    short = run(job(rounds=1), tmp_path / "short")
    assert stopped["model_sha256"] == short["model_sha256"]
    assert stopped["metrics"] == short["metrics"]
