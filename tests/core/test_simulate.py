"""A whole job in one process: what it writes is complete, true and the same again."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fedkrso_core.errors import MethodError, SpecError
from fedkrso_core.method import pack
from fedkrso_core.models import weights_of
from fedkrso_core.payload import encode, tensors_sha256
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec

Jobs = Callable[..., JobSpec]
LEARNING = {"local": {"steps": 10, "batch_size": 8, "lr": 1e-2}, "rounds": 3}


def ledger(out: Path) -> list[dict[str, Any]]:
    return jsonl(out / "rounds.jsonl")


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_job_leaves_three_things_and_nothing_else(job: Jobs, tmp_path: Path) -> None:
    summary = run(job(), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["model", "rounds.jsonl", "summary.json"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert [record["round"] for record in ledger(tmp_path / "out")] == [1, 2]


def test_the_summary_tells_what_was_run(job: Jobs, tmp_path: Path) -> None:
    spec = job()
    summary = run(spec, tmp_path)
    assert (summary["name"], summary["method"], summary["rounds"]) == ("tiny", "fedkrso", 2)
    assert summary["labels"] == ["animals", "tools", "weather"]
    assert (summary["device"], summary["threads"]) == ("cpu", 1)
    assert summary["spec"]["method"] == {**summary["spec"]["method"], "rank": 4, "seeds": 10}
    assert JobSpec.model_validate(summary["spec"]).local == spec.local
    assert summary["metrics"] == ledger(tmp_path)[-1]["metrics"]


def test_the_totals_are_the_sums_of_the_ledger(job: Jobs, tmp_path: Path) -> None:
    totals, records = run(job(), tmp_path)["totals"], ledger(tmp_path)
    for name in ("bytes_up", "bytes_down"):
        assert totals[name] == sum(record[name] for record in records) > 0
    assert totals["peak_memory_bytes"] == max(r["peak_memory_bytes"] for r in records) > 0
    trained = sum(record["seconds"]["train"] for record in records)
    assert totals["seconds"]["train"] == pytest.approx(trained)


@pytest.mark.parametrize("method", ["fedkrso", "fedavg", "fedit"])
def test_the_exported_model_scores_what_the_summary_says(
    job: Jobs, tmp_path: Path, tiny_data: Path, method: str
) -> None:
    summary = run(job(**LEARNING, method={"name": method}), tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = jsonl(tiny_data / "validation.jsonl")
    answers = [
        int(model(**tokenizer(r["text"], return_tensors="pt")).logits.argmax()) for r in rows
    ]
    right = [model.config.id2label[a] == r["label"] for a, r in zip(answers, rows, strict=True)]
    assert sum(right) / len(right) == summary["metrics"]["accuracy"] > 0.5
    assert tensors_sha256(weights_of(model)) == summary["model_sha256"]


def test_the_same_job_gives_the_same_bits(job: Jobs, tmp_path: Path, dropout_model: Path) -> None:
    spec = job(model=str(dropout_model), local={"schedule": "cosine", "weight_decay": 0.01})
    one = run(spec, tmp_path / "one")
    torch.manual_seed(12345)
    other = run(spec, tmp_path / "other")
    assert one["model_sha256"] == other["model_sha256"]
    assert one["metrics"] == other["metrics"]


def test_rules_about_who_answers_change_nothing_where_everybody_does(
    job: Jobs, tmp_path: Path
) -> None:
    plain = run(job(clients={"per_round": 2}), tmp_path / "plain")
    rules = {"per_round": 2, "select_extra": 1, "min_clients": 1, "attempts": 2}
    ruled = run(job(clients=rules, round_timeout_s=1, priority=3), tmp_path / "ruled")
    assert ruled["model_sha256"] == plain["model_sha256"]
    for name in ("bytes_up", "bytes_down"):  # so the forecast is that of the first choice
        assert ruled["totals"][name] == plain["totals"][name]


def test_another_seed_gives_another_model(job: Jobs, tmp_path: Path) -> None:
    shas = [run(job(seed=s), tmp_path / str(s))["model_sha256"] for s in (1, 2)]
    assert shas[0] != shas[1]


@pytest.mark.parametrize("method", ["fedkrso", "fedavg", "ffa_lora"])
def test_the_ledger_counts_the_encodings(
    job: Jobs, federation: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    run(job(method={"name": method}), tmp_path / "out")
    fed = federation(method={"name": method})
    for record in ledger(tmp_path / "out"):
        updates = {client: fed.train(client) for client in range(3)}
        assert record["bytes_up"] == sum(_packed_bytes(update) for update in updates.values())
        # all clients were there in every round, so they lack only the newest state
        assert record["bytes_down"] == 3 * len(encode(fed.states[-1]))
        fed.close(updates)


def _packed_bytes(update: Any) -> int:
    """Size of an update's body; a received upload already has its own among the scalars."""
    assert update.upload.scalars["num_examples"] == update.num_examples
    return len(pack(update))


def test_stepping_by_hand_ends_in_the_same_model(
    job: Jobs, federation: Callable[..., Any], tmp_path: Path
) -> None:
    summary = run(job(), tmp_path / "out")
    fed = federation()
    fed.play(2)
    fed.global_weights()
    assert fed.work.global_model.sha256() == summary["model_sha256"]


def test_a_client_that_was_away_downloads_what_it_lacks(
    job: Jobs, federation: Callable[..., Any], tmp_path: Path
) -> None:
    changes = {"rounds": 5, "clients": {"per_round": 1}, "local": {"steps": 1}}
    run(job(**changes), tmp_path / "out")
    fed, have, away = federation(**changes), {}, 0
    for record in ledger(tmp_path / "out"):
        (client,) = record["clients"]
        lacked = fed.states[have.get(client, 0) :]
        assert record["bytes_down"] == sum(len(encode(state)) for state in lacked)
        fed.close({client: fed.train(client)})
        have[client], away = record["round"], max(away, len(lacked))
    assert away > 1


def test_rounds_are_measured_as_often_as_asked(job: Jobs, tmp_path: Path) -> None:
    spec = job(rounds=5, evaluate={"every": 2}, local={"steps": 1})
    run(spec, tmp_path)
    measured = [r["round"] for r in ledger(tmp_path) if r["metrics"]]
    assert measured == [2, 4, 5]


def test_rounds_and_steps_are_told_as_they_happen(job: Jobs, tmp_path: Path) -> None:
    told: list[Any] = []

    def on_round(record: dict[str, Any]) -> None:
        assert ledger(tmp_path)[-1] == record  # it was on the disk before it was told
        told.append(record["round"])

    spec = job(clients={"per_round": 1}, local={"steps": 2})
    run(spec, tmp_path, on_round, lambda *step: told.append(step))
    (first,), (second,) = (record["clients"] for record in ledger(tmp_path))
    assert told == [(1, first, 1), (1, first, 2), 1, (2, second, 1), (2, second, 2), 2]


def test_a_job_that_cannot_run_leaves_out_untouched(job: Jobs, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"method\.rank"):
        run(job(method={"name": "fedkrso", "rank": 99}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_diverges_leaves_no_working_files(job: Jobs, tmp_path: Path) -> None:
    spec = job(method={"name": "fedavg"}, local={"lr": 1e30, "optimizer": "sgd"})
    with pytest.raises(MethodError, match=r"client 0: the loss is (nan|inf) in round 1"):
        run(spec, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rounds.jsonl"]


def test_a_second_run_replaces_the_first(job: Jobs, tmp_path: Path) -> None:
    run(job(rounds=2), tmp_path)
    run(job(rounds=1), tmp_path)
    assert len(ledger(tmp_path)) == 1


def test_the_metrics_are_finite_numbers(job: Jobs, tmp_path: Path) -> None:
    metrics = run(job(), tmp_path)["metrics"]
    assert set(metrics) == {"accuracy", "loss", "f1", "mcc"}
    assert all(math.isfinite(value) for value in metrics.values())
