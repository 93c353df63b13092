"""Every method on language models: it learns, or says why it cannot; nothing tied is torn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.errors import SpecError
from fedkrso_core.examine import check_method, config_of
from fedkrso_core.lm_evaluate import greedy
from fedkrso_core.method import pack
from fedkrso_core.methods import METHODS
from fedkrso_core.models import load_model, shapes_only, weights_of
from fedkrso_core.ops.targets import head_names, target_linears
from fedkrso_core.spec import JobSpec
from tests.core.conftest import Federation
from tests.core.rows import ROWS
from tests.core.tasks.conftest import ARCHITECTURES

Job = Callable[..., JobSpec]
CASES = [(a, m) for m in METHODS for a in ("gpt2", "llama")]
CASES += [(a, m) for m in ("fedkrso", "fedavg", "fedit") for a in ("qwen2", "qwen3")]


def refusal(job: JobSpec) -> str | None:
    shapes = shapes_only(job.model, (), "causal-lm")
    try:
        check_method(job.method, config_of(job.method), shapes, job)
    except SpecError as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_it_learns_or_says_why_not(
    lm_job: Job, architecture: str, method: str, tmp_path: Path
) -> None:
    local = {"steps": 8, "batch_size": 8, "max_length": 16, "lr": ROWS[method].lr}
    job = lm_job(architecture, method={"name": method}, local=local)
    if refused := refusal(job):
        assert "causal-lm" in refused or "language model" in refused
        return
    fed = Federation(job, tmp_path)
    # models that are personal are those of the clients: what they report falls, not the global loss
    measure = (lambda: fed.train(0).metrics["loss"]) if fed.method.is_personal else fed.loss
    before = measure()
    fed.play(3)
    # a method that sees no gradient learns too slowly for more
    assert measure() < (1.0 if ROWS[method].only_losses else 0.95) * before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_language_model_has_no_dense_head(lm_job: Job, architecture: str) -> None:
    model = shapes_only(lm_job(architecture).model, (), "causal-lm")
    assert head_names(model) == []
    assert not any("lm_head" in name for name in target_linears(model, "all-linear"))
    layers = target_linears(model, "all-linear")
    assert len(layers) == 2 * (4 if architecture == "gpt2" else 7)


@pytest.mark.parametrize("method", ["fedkrso", "fedit"])
def test_what_is_not_targeted_does_not_change(lm_job: Job, method: str, tmp_path: Path) -> None:
    fed = Federation(lm_job("qwen2", method={"name": method}), tmp_path)
    before, targets = fed.weights(), target_linears(fed.model, "all-linear")
    fed.play(1)
    after = fed.global_weights()
    changed = {
        name.removesuffix(".weight") for name in after if (after[name] != before[name]).any()
    }
    assert changed == set(targets)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_tied_weights_are_sent_and_changed_once(
    lm_job: Job, architecture: str, tmp_path: Path
) -> None:
    fed = Federation(lm_job(architecture, method={"name": "fedavg"}), tmp_path)
    update = fed.train(0)
    assert "lm_head.weight" not in update.upload.tensors
    fed.close({0: update})
    weights = fed.global_weights()
    embedding = fed.model.get_input_embeddings().weight
    assert fed.model.get_output_embeddings().weight is embedding
    assert any(torch.equal(embedding, w) for w in weights.values())
    assert "lm_head.weight" not in weights_of(fed.model)


def test_a_shared_key_has_its_own_shape(lm_job: Job, tmp_path: Path) -> None:
    fed = Federation(lm_job("llama", method={"name": "fedkrso", "rank": 3}), tmp_path)
    tensors = fed.train(0).upload.tensors
    shapes = {name.rsplit(".", 1)[1]: tuple(t.shape) for name, t in tensors.items()}
    assert (shapes["q_proj"], shapes["k_proj"], shapes["up_proj"]) == ((32, 3), (16, 3), (48, 3))


MEMORY = [
    ["checkpointing"],
    ["checkpointing-mlp", "dropout-bits"],
    ["gelu-8bit"],
    ["fused-cross-entropy"],
    ["bf16-weights", "fused-cross-entropy"],
]


@pytest.mark.parametrize("memory", MEMORY, ids="+".join)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_every_memory_option_trains_a_decoder(
    lm_job: Job, architecture: str, memory: list[str], tmp_path: Path
) -> None:
    local = {"steps": 2, "batch_size": 4, "max_length": 16, "lr": 1e-2}
    plain = Federation(lm_job(architecture, local=local), tmp_path / "plain").train(0)
    lean = Federation(lm_job(architecture, local={**local, "memory": memory}), tmp_path / "lean")
    tolerance = 0.02 if "bf16-weights" in memory else 1e-3
    assert lean.train(0).metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=tolerance)
    assert {p.dtype for p in lean.model.parameters()} == {torch.float32}


def test_the_same_seed_gives_the_same_bytes(lm_job: Job, tmp_path: Path) -> None:
    one, other = (Federation(lm_job(), tmp_path / name) for name in ("one", "other"))
    assert pack(one.train(1)) == pack(other.train(1))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_capitals_are_learnt_by_heart(lm_job: Job, architecture: str, tmp_path: Path) -> None:
    local = {"steps": 20, "batch_size": 8, "max_length": 16, "lr": 1e-2}
    fed = Federation(lm_job(architecture, method={"name": "fedavg"}, local=local), tmp_path)
    fed.global_weights()
    start = fed.work.evaluate()
    fed.play(2)
    fed.global_weights()
    end = fed.work.evaluate()
    assert (start["exact_match"], end["exact_match"]) == (0.0, 1.0)
    assert end["perplexity"] < 1.3 < start["perplexity"]


def test_an_encoder_is_no_language_model(lm_job: Job, tiny_model: Path) -> None:
    from fedkrso_core.check import check

    job = lm_job().model_copy(update={"model": str(tiny_model)})
    with pytest.raises(SpecError, match="a bert, which looks at the tokens that it should predict"):
        check(job)


def test_a_checkpoint_without_padding_trains(lm_job: Job, tmp_path: Path) -> None:
    """GPT-2's tokenizer pads with the end token, which still counts where it ends a text."""
    job = lm_job("gpt2")
    folder = tmp_path / "no-pad"
    model: Any = load_model(job.model, (), 0, "causal-lm")
    model.save_pretrained(folder)
    from tests.core.tasks.conftest import tokenizer

    made = tokenizer()
    made.pad_token = None
    made.save_pretrained(folder)
    fed = Federation(job.model_copy(update={"model": str(folder)}), tmp_path / "dense")
    batch = next(iter(fed.work._client(0, 1, lambda _: None).batches()))
    assert (batch["labels"] == 3).sum() == 4
    asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert len(greedy(fed.model.eval(), asked, 1, 3)) == 4
