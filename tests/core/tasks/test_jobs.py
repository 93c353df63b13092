"""A whole job of each task in one process, its forecast, and its model in a clean process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core import estimate as estimating
from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.estimate.batch import Batch, largest_batch
from fedkrso_core.estimate.rehearsal import Rehearser
from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.global_model import weights_of
from fedkrso_core.lean import lean_model
from fedkrso_core.method import Client
from fedkrso_core.methods import METHODS
from fedkrso_core.models import config_of, from_config, load_model, load_tokenizer
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec, LocalSpec, parse
from fedkrso_core.workload import Workload
from tests.core.estimate.conftest import MACHINE

Job = Callable[..., JobSpec]
GENERATE = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
asked = tokenizer("the capital of peru is ?\\n", return_tensors="pt")
said = model.generate(**asked, do_sample=False, max_new_tokens=5)
print(json.dumps(said[0].tolist()))
"""


@pytest.fixture
def rating_job(tiny_model: Path, ratings: Path) -> Job:
    """Makes a regression job."""

    def make(**changes: Any) -> JobSpec:
        job = {
            "name": "ratings",
            "task": "regression",
            "model": str(tiny_model),
            "data": {"train": str(ratings)},
            "partition": {"kind": "dirichlet", "alpha": 1.0},
            "clients": {"count": 2, "per_round": 2},
            "rounds": 2,
            "local": {"steps": 15, "batch_size": 8, "max_length": 16, "lr": 3e-3},
            "method": {"name": "fedavg"},
        }
        return parse({**job, **changes})

    return make


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["fedkrso", "fedavg"])
def test_bytes_of_a_language_model_are_forecast(
    lm_job: Job, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lm_job("llama", method={"name": method})
    summary = run(job, tmp_path)
    monkeypatch.setattr(estimating, "this_machine", lambda _: MACHINE)
    traffic = estimating.estimate(job).forecasts[0].traffic
    assert traffic is not None
    for planned, record in zip(traffic.rounds, records(tmp_path), strict=True):
        assert planned.bytes_up == pytest.approx(record["bytes_up"], rel=1e-3)
        assert planned.bytes_down == pytest.approx(record["bytes_down"], rel=1e-3)
    assert set(summary["metrics"]) == {"perplexity", "loss", "exact_match"}
    assert summary["labels"] == []


def test_the_exported_model_says_the_same_in_a_clean_process(lm_job: Job, tmp_path: Path) -> None:
    local = {"steps": 20, "batch_size": 8, "max_length": 16, "lr": 1e-2}
    job = lm_job("gpt2", method={"name": "fedavg"}, local=local)
    run(job, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=True,
    )
    model: Any = load_model(str(tmp_path / "model"), (), 0, "causal-lm").eval()
    asked = load_tokenizer(str(tmp_path / "model"))(
        "the capital of peru is ?\n", return_tensors="pt"
    )
    said = model.generate(**asked, do_sample=False, max_new_tokens=5)[0].tolist()
    assert json.loads(done.stdout) == said
    assert "lima" in load_tokenizer(str(tmp_path / "model")).decode(said)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "| round | perplexity | loss |" in card
    assert "labels" not in card


def test_a_regression_is_learnt_and_exported(rating_job: Job, tmp_path: Path) -> None:
    job = rating_job(rounds=4)
    summary = run(job, tmp_path)
    first, *_, last = records(tmp_path)
    assert set(last["metrics"]) == {"pearson", "loss", "spearman", "mse"}
    assert last["metrics"]["mse"] == last["metrics"]["loss"] < first["metrics"]["loss"]
    assert last["metrics"]["pearson"] > 0.8
    again = Workload(
        job.model_copy(update={"model": str(tmp_path / "model")}),
        tmp_path / "w",
        torch.device("cpu"),
    )
    assert again.global_model.sha256() == summary["model_sha256"]
    assert again.evaluate() == pytest.approx(summary["metrics"])
    assert again.global_model.model.config.num_labels == 1


def test_methods_of_every_kind_take_a_regression(rating_job: Job, tmp_path: Path) -> None:
    for method in ("fedkrso", "fedit"):
        job = rating_job(rounds=1, method={"name": method})
        assert "pearson" in run(job, tmp_path / method)["metrics"]


def test_forecasts_of_memory_follow_the_task(lm_job: Job, rating_job: Job) -> None:
    for job in (lm_job("llama"), lm_job("gpt2"), rating_job()):
        config = config_of(job.model, (), job.task)
        labels = torch.float32 if job.task == "regression" else torch.int64
        batch = Batch(4, 12, labels=labels, per_token=job.task == "causal-lm")
        for memory in ((), ("fused-cross-entropy",))[: 1 if job.task == "regression" else 2]:
            local = LocalSpec(steps=2, memory=memory)
            real = _tracked(config, job, local, batch)
            rehearser = Rehearser(lambda config=config, job=job: from_config(config, job.task))
            method = METHODS["fedkrso"]
            found = rehearser.play(method, method.Config(), local, batch).peak_bytes
            assert found == pytest.approx(real, rel=0.02)


def _tracked(config: Any, job: JobSpec, local: LocalSpec, batch: Batch) -> int:
    """Two real steps."""
    method, real = METHODS["fedkrso"], from_config(config, job.task)
    batches = [batch.make() for _ in range(local.steps)]
    for one in batches:  # a batch without padding is attended to without a mask, in less memory
        one["attention_mask"][0, -1] = 0
    who = Client(0, 1, 0, local, 4, lambda: iter(batches))
    state = method.init(method.Config(), real, 0)
    with lean_model(real, local), LiveTensors() as live:
        live.count(real)
        live.count([t for one in batches for t in one.values()], "activations")
        method.train(method.Config(), real, state, who)
    return live.peak_bytes


def test_the_largest_batch_has_the_tasks_labels(lm_job: Job, rating_job: Job) -> None:
    for job in (lm_job(), rating_job()):
        work = Workload(job, Path(job.model).parent / "dense", torch.device("cpu"))
        batch = largest_batch(work.shares.train, work.encoder, 4)
        real = next(iter(work._client(0, 1, lambda _: None).batches()))
        made = batch.make()
        assert made.keys() == real.keys()
        assert made["labels"].dtype == real["labels"].dtype
        assert made["labels"].dim() == real["labels"].dim()


def test_a_job_file_of_before_the_tasks_is_one_of_classification() -> None:
    assert parse({"name": "old", "task": "text-classification"}).task == "classification"
    assert parse({"name": "old"}).task == "classification"


WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "no label to divide by": (
        "lm",
        {"partition": {"kind": "dirichlet"}},
        "data.label",
        "'label' is not a column of .* only this partition needs a label; take iid or by-column",
    ),
    "no such column in a template": (
        "lm",
        {"data": {"prompt": "Q: {ask} A: "}},
        "data.prompt",
        "'ask' is not a column",
    ),
    "a pair": ("lm", {"data": {"text_pair": "owner"}}, "data.text_pair", "causal-lm has no pairs"),
    "a prompt": ("rating", {"data": {"train": "x", "prompt": "text"}}, "data.prompt", "no prompt"),
    "words for numbers": (
        "rating",
        {"data": {"train": "x", "label": "owner"}},
        "data.label",
        "row 1 of .* has 'o0' as 'owner'; regression needs a finite number",
    ),
    "cross-entropy of numbers": (
        "rating",
        {"local": {"max_length": 16, "memory": ["fused-cross-entropy"]}},
        "local.memory",
        "finds none in a regression",
    ),
}


@pytest.mark.parametrize(("kind", "changes", "field", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_the_task_is_refused(
    lm_job: Job, rating_job: Job, ratings: Path, kind: str, changes: Any, field: str, message: str
) -> None:
    if "data" in changes and "train" in changes["data"]:
        changes = {**changes, "data": {**changes["data"], "train": str(ratings)}}
    with pytest.raises(SpecError, match=message) as refused:
        check((lm_job if kind == "lm" else rating_job)(**changes))
    assert [problem.field for problem in refused.value.problems] == [field]


def test_templates_are_filled_from_columns(lm_job: Job, tmp_path: Path) -> None:
    job = lm_job(data={"prompt": "{owner}: {question} {"})
    work = Workload(job, tmp_path, torch.device("cpu"))
    prompts = work.shares.train.prompts
    assert prompts is not None
    assert all(p.startswith("o") and p.endswith("? {") and ": the capital" in p for p in prompts)


def test_the_preset_needs_no_download(home: Path, tmp_path: Path) -> None:
    job = parse(
        {
            "name": "offline",
            "task": "causal-lm",
            "model": "bytes",
            "data": {"train": "pydocs", "max_rows": 40, "prompt": "{label}: "},
            "clients": {"count": 2, "per_round": 1},
            "rounds": 1,
            "local": {"steps": 2, "batch_size": 4, "max_length": 32, "lr": 3e-3},
            "evaluate": {"answers": 2, "answer_tokens": 4},
            "method": {"name": "fedavg"},
        }
    )
    found = run(check(job).spec, tmp_path)["metrics"]
    assert found["perplexity"] < 257
    assert set(found) == {"perplexity", "loss", "exact_match"}
    tokenizer, text = load_tokenizer("bytes"), "Größe 你好\n x  y"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    model = load_model("bytes", (), 0, "causal-lm")
    from fedkrso_core.models import PRESETS

    assert sum(t.numel() for t in weights_of(model).values()) == PRESETS["bytes"].parameters
