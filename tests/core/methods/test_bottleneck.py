"""Bottleneck adapters (arXiv 1902.00751): y + U act(D y) after sublayers, averaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from fedkrso_core.methods import METHODS
from fedkrso_core.ops.bottleneck import sublayer_outputs
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from tests.core.methods.prompts import logits_of

Make = Callable[..., Any]
IDS = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
FEED_FORWARD = ["bert.encoder.layer.0.output.dense", "bert.encoder.layer.1.output.dense"]


def adapted(federation: Make, **options: Any) -> Any:
    return federation(method={"name": "bottleneck", "width": 5, **options}, local={"lr": 1e-2})


def test_training_begins_at_the_base_model(federation: Make) -> None:
    fed = adapted(federation)
    base = logits_of(fed.model, IDS, (IDS > 0).long())
    start = METHODS["bottleneck"].reference(fed.config, fed.model, fed.states[0])
    fed.states[0].tensors.update(start)
    fed.global_weights()
    assert torch.equal(logits_of(fed.model, IDS, (IDS > 0).long()), base)


def test_a_layer_gives_y_and_what_the_bottleneck_makes_of_it(federation: Make) -> None:
    fed = adapted(federation, attention=False, activation="relu")
    fed.play(1)
    fed.global_weights()
    name, seen = FEED_FORWARD[0], {}
    dense = fed.model.get_submodule(name)
    dense.register_forward_hook(lambda _m, args, out: seen.update(x=args[0], out=out))
    logits_of(fed.model, IDS, (IDS > 0).long())
    own = {part: fed.states[-1].tensors[f"{part}/{name}"] for part in
           ("down.weight", "down.bias", "up.weight", "up.bias")}  # fmt: skip
    y = seen["x"] @ dense.weight.T + dense.bias
    hidden = (y @ own["down.weight"].T + own["down.bias"]).relu()
    by_hand = y + hidden @ own["up.weight"].T + own["up.bias"]
    assert torch.allclose(seen["out"], by_hand, atol=1e-5)


def test_each_factor_is_the_mean_of_the_clients(federation: Make) -> None:
    fed = adapted(federation)
    updates = {client: fed.train(client) for client in range(3)}
    after = fed.aggregate(updates)
    for name, value in after.tensors.items():
        own = [updates[c].upload.tensors[name] * fed.sizes[c] for c in range(3)]
        assert torch.allclose(value, sum(own) / sum(fed.sizes), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (lambda t: t.BertConfig(), ["attention.output.dense", "output.dense"]),
        (lambda t: t.RobertaConfig(), ["attention.output.dense", "output.dense"]),
        (lambda t: t.DistilBertConfig(), ["attention.out_lin", "ffn.lin2"]),
        (lambda t: t.GPT2Config(), ["attn.c_proj", "mlp.c_proj"]),
        (lambda t: t.LlamaConfig(), ["self_attn.o_proj", "mlp.down_proj"]),
        (lambda t: t.Qwen3Config(), ["self_attn.o_proj", "mlp.down_proj"]),
        (lambda t: t.OPTConfig(), ["self_attn.out_proj", "fc2"]),
    ],
)
def test_it_finds_the_sublayers_of_many_architectures(make: Any, places: list[str]) -> None:
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(make(transformers))
    both, one = sublayer_outputs(model, attention=True), sublayer_outputs(model, attention=False)
    layers = model.config.num_hidden_layers
    assert len(both) == 2 * layers
    assert [name.split(".0.", 1)[1] for name in list(both)[:2]] == places
    assert [name.split(".0.", 1)[1] for name in list(one)[:1]] == places[1:]


def test_transformers_loads_what_is_exported(
    job: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    out = tmp_path / "out"
    summary = run(job(rounds=1, method={"name": "bottleneck"}, local={"lr": 1e-2}), out)
    card = (out / "model" / "README.md").read_text()
    assert "trust_remote_code=True" in card
    names: dict[str, Any] = {}
    monkeypatch.chdir(out)
    exec(card.split("```python")[1].split("```")[0], names)
    assert summary["metrics"]["accuracy"] == pytest.approx(_accuracy(names, summary), abs=1e-9)


def _accuracy(loaded: dict[str, Any], summary: dict[str, Any]) -> float:
    path = Path(summary["spec"]["data"]["validation"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    batch = loaded["tokenizer"]([row["text"] for row in rows], padding=True, return_tensors="pt")
    logits = logits_of(loaded["model"], batch["input_ids"], batch["attention_mask"])
    said = [summary["labels"][i] for i in logits.argmax(-1).tolist()]
    return sum(a == row["label"] for a, row in zip(said, rows, strict=True)) / len(rows)


def test_without_leave_to_run_its_code_it_is_not_loaded_as_something_else(
    job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    run(job(rounds=1, method={"name": "bottleneck"}), tmp_path)
    with pytest.raises(ValueError, match="trust_remote_code"):
        transformers.AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "model", trust_remote_code=False
        )
