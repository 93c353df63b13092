"""What cannot be merged: it is part of the model while attached, and can be taken home."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from fedkrso_core.attached import attachment_of, detach
from fedkrso_core.lm_evaluate import greedy
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload
from tests.core.conftest import Federation
from tests.core.methods.prompts import loaded, logits_of
from tests.core.tasks.conftest import (  # noqa: F401 - fixtures
    decoders,
    lm_job,
    questions,
)

Make = Callable[..., Any]
# peft looks for the base's config by its name, and asks transformers in a deprecated way
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in ("Could not find a config file", "Unable to fetch", "`is_gradient_check")
]
PROMPTS = ["prompt_tuning", "p_tuning", "prefix_tuning"]
LM = {"steps": 4, "batch_size": 4, "max_length": 16, "lr": 0.2}
IDS = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Workload]:
    """The workloads that are made."""
    made: list[Workload] = []
    ends = Workload.__init__

    def begin(self: Workload, *args: Any, **named: Any) -> None:
        ends(self, *args, **named)
        made.append(self)

    monkeypatch.setattr(Workload, "__init__", begin)
    return made


@pytest.mark.parametrize("name", PROMPTS)
def test_a_classifier_comes_back_with_peft(
    job: Callable[..., JobSpec], kept: list[Workload], name: str, tmp_path: Path
) -> None:
    summary = run(job(rounds=1, method={"name": name}, local={"lr": 0.1}), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "rounds.jsonl", "summary.json", "adapter", "base"
    }  # fmt: skip
    model, mask = kept[0].global_model.model, (IDS > 0).long()
    ours = logits_of(model, IDS, mask)
    theirs = logits_of(loaded(tmp_path, transformers.AutoModelForSequenceClassification), IDS, mask)
    assert torch.allclose(ours, theirs, atol=1e-5)
    detach(model)
    assert not torch.allclose(ours, logits_of(model, IDS, mask), atol=1e-3)
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "library_name: peft" in card
    assert 'PeftModel.from_pretrained(base, "adapter")' in card
    assert summary["model_sha256"] in card
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning"])
def test_a_language_model_comes_back_with_peft(
    lm_job: Make,  # noqa: F811
    kept: list[Workload],
    architecture: str,
    name: str,
    tmp_path: Path,
) -> None:
    run(lm_job(architecture, rounds=1, method={"name": name}, local=LM), tmp_path)
    mask = (IDS > 0).long()
    ours = logits_of(kept[0].global_model.model, IDS, mask)
    theirs = logits_of(loaded(tmp_path, transformers.AutoModelForCausalLM), IDS, mask)
    assert torch.allclose(ours, theirs[:, -IDS.shape[1] :], atol=1e-5)


def test_the_code_of_the_card_loads_the_model(
    job: Callable[..., JobSpec], kept: list[Workload], tmp_path: Path, monkeypatch: Any
) -> None:
    run(job(rounds=1, method={"name": "prefix_tuning"}, local={"lr": 0.1}), tmp_path)
    card = (tmp_path / "adapter" / "README.md").read_text()
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(card.split("```python")[1].split("```")[0], names)
    model = kept[0].global_model.model
    ours, mask = logits_of(model, IDS, (IDS > 0).long()), (IDS > 0).long()
    assert torch.allclose(ours, logits_of(names["model"], IDS, mask), atol=1e-5)


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning"])
def test_answers_with_a_cache_are_those_without(
    lm_job: Make,  # noqa: F811
    name: str,
    tmp_path: Path,
) -> None:
    """Greedy decoding, prompts padded on the left, token by token against the whole text."""
    fed = Federation(lm_job("llama", method={"name": name}, local=LM), tmp_path)
    fed.play(2)
    fed.global_weights()
    model = fed.model.eval()
    asked = torch.tensor([[2, 4, 5, 6], [0, 0, 2, 4]])
    said = greedy(model, {"input_ids": asked, "attention_mask": (asked > 0).long()}, 4, end=99)
    for row, own in zip(asked, said, strict=True):
        ids = row[row > 0][None]
        for token in own:
            # a text of its own has no padding between the prompt and itself
            assert int(model(input_ids=ids).logits[0, -1].argmax()) == token
            ids = torch.cat([ids, torch.tensor([[token]])], 1)


def test_it_counts_in_the_digest_of_the_model(federation: Make) -> None:
    fed = federation(method={"name": "prompt_tuning"}, local={"lr": 0.1})
    fed.play(1)
    fed.global_weights()
    with_it = fed.work.global_model.sha256()
    detach(fed.model)
    assert fed.work.global_model.sha256() != with_it


def test_the_base_model_is_without_it(federation: Make) -> None:
    fed = federation(method={"name": "prompt_tuning"})
    fed.play(1)
    fed.global_weights()
    assert attachment_of(fed.model) is not None
    fed.work.global_model.untrained()
    assert attachment_of(fed.model) is None
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in fed.model.modules()]
    assert sum(hooks) == 0
