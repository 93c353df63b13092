"""`local_head: true`: the classifier stays with the client, with every method that sends it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.expect import check_upload
from fedkrso_core.method import pack
from fedkrso_core.ops.targets import copy_into, head_names
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec

Jobs = Callable[..., JobSpec]
Make = Callable[..., Any]
WITH_HEAD = ("fedkrso", "fedavg", "fedit", "ffa_lora", "rolora", "flora")
LEARNING = {"steps": 10, "batch_size": 8, "lr": 3e-3, "head_lr": 1e-2}


@pytest.fixture(params=WITH_HEAD)
def fed(request: pytest.FixtureRequest, federation: Make) -> Any:
    made = federation(method={"name": request.param}, local_head=True, local=LEARNING)
    made.play(1)
    return made


def is_of_head(fed: Any, tensor: str) -> bool:
    return tensor.removeprefix("dense/") in head_names(fed.model)


def test_no_classifier_travels_in_either_direction(fed: Any) -> None:
    sent = [*fed.train(0).upload.tensors, *fed.states[-1].tensors]
    assert sent
    assert not any(is_of_head(fed, tensor) for tensor in sent)


def test_the_upload_is_as_expected(fed: Any, tmp_path: Path) -> None:
    (tmp_path / "update").write_bytes(pack(fed.train(1)))
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    check_upload(tmp_path / "update", expected, fed.sizes[1])


def test_a_client_goes_on_with_its_own_classifier(fed: Any) -> None:
    """At a vanishing rate the classifier is that of the round before, and each client's differs."""
    kept = [fed.memories[c].under("local_head/") for c in range(3)]
    assert sorted(kept[0]) == sorted(head_names(fed.model))
    name = head_names(fed.model)[0]
    assert not torch.equal(kept[0][name], kept[1][name])
    fed.work.spec = fed.work.spec.model_copy(
        update={"local": fed.work.spec.local.model_copy(update={"lr": 1e-30, "head_lr": 1e-30})}
    )
    for client in range(3):
        again = fed.train(client).memory.under("local_head/")
        assert all(torch.equal(again[n], kept[client][n]) for n in again)


def test_the_exported_model_has_the_classifier_of_the_base(fed: Any) -> None:
    base = {n: t.clone() for n, t in fed.work.global_model.untrained().named_parameters()}
    final = fed.global_weights()
    assert all(torch.equal(final[n], base[n]) for n in head_names(fed.model))
    assert any(not torch.equal(final[n], base[n]) for n in final)


def test_own_models_learn_though_the_global_one_cannot(job: Jobs, tmp_path: Path) -> None:
    summary = run(
        job(local_head=True, local=LEARNING, rounds=3, method={"name": "fedavg"}), tmp_path
    )
    assert summary["metrics"]["accuracy"] > 0.6
    assert 0 <= summary["metrics"]["worst_client"] <= 2
    assert summary["metrics"]["worst_accuracy"] <= summary["metrics"]["accuracy"]


def test_a_client_measures_the_model_that_its_own_update_makes(federation: Make) -> None:
    fed = federation(method={"name": "fedkrso"}, local_head=True, local=LEARNING)
    update = fed.train(1)
    fed.close({1: update})
    fed.global_weights()
    copy_into(fed.model, update.memory.under("local_head/"))
    alone = fed.work.evaluate()
    assert alone["accuracy"] > 0.4
    assert {name: update.metrics[f"own_{name}"] for name in alone} == alone


def test_a_rounds_metrics_are_the_means_of_its_clients(
    job: Jobs, federation: Make, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"local_head": True, "rounds": 1}
    run(job(**changes), tmp_path)
    (record,) = map(json.loads, (tmp_path / "rounds.jsonl").read_text().splitlines())
    fed = federation(**changes)
    losses = [fed.train(client).metrics["own_loss"] for client in range(3)]
    mean = sum(n * loss for n, loss in zip(fed.sizes, losses, strict=True)) / sum(fed.sizes)
    assert record["metrics"]["loss"] == pytest.approx(mean)


def test_evaluate_every_is_honoured(job: Jobs, tmp_path: Path) -> None:
    run(job(local_head=True, rounds=3, evaluate={"every": 2, "own_rows": 5}), tmp_path)
    records = [json.loads(r) for r in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [bool(record["metrics"]) for record in records] == [False, True, True]
    assert all((5 * r["metrics"]["worst_accuracy"]) % 1 == pytest.approx(0) for r in records[1:])


def test_the_same_job_gives_the_same_bits(job: Jobs, tmp_path: Path) -> None:
    spec = job(local_head=True, clients={"per_round": 2}, rounds=3)
    one, other = (run(spec, tmp_path / name) for name in ("one", "other"))
    assert one["model_sha256"] == other["model_sha256"]
    assert one["metrics"] == other["metrics"]


def test_buffered_rounds_keep_the_classifier_too(job: Jobs, tmp_path: Path) -> None:
    rounds = {"count": 4, "mode": "buffered", "buffer": 1}
    summary = run(job(local_head=True, rounds=rounds), tmp_path)
    assert "worst_client" in summary["metrics"]


def test_a_model_without_a_classifier_of_its_own_is_refused(
    job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkrso_core.local_head.head_names", lambda _: [])
    with pytest.raises(SpecError, match="local_head: fedkrso sends no classifier"):
        check(job(local_head=True))
