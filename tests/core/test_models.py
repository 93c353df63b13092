"""Models: presets, local folders, hub ids, and the parts that a checkpoint lacks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fedkrso_core.errors import ModelError
from fedkrso_core.models import (
    PRESETS,
    load_model,
    load_tokenizer,
    shapes_only,
    source_of,
    weights_of,
)

NAMES = ("animals", "tools", "weather")
ALLOWED = "allowed: minilm, bytes, a local folder"


def test_a_local_folder_is_a_model(tiny_model: Path) -> None:
    model = load_model(str(tiny_model), NAMES, seed=0)
    assert model.classifier.weight.shape == (3, 32)
    assert model.config.id2label == dict(enumerate(NAMES))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_missing_head_is_drawn_from_the_seed(tiny_model: Path) -> None:
    one, again, other = (load_model(str(tiny_model), NAMES, seed) for seed in (1, 1, 2))
    assert torch.equal(one.classifier.weight, again.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert one.classifier.bias.tolist() == [0.0, 0.0, 0.0]
    assert one.classifier.weight.std().item() == pytest.approx(
        one.config.initializer_range, rel=0.3
    )


def test_the_head_depends_on_nothing_but_the_seed(tiny_model: Path) -> None:
    torch.manual_seed(1)
    one = load_model(str(tiny_model), NAMES, seed=1).classifier.weight
    torch.manual_seed(2)
    assert torch.equal(one, load_model(str(tiny_model), NAMES, seed=1).classifier.weight)


def test_only_the_missing_parts_are_drawn(tiny_model: Path) -> None:
    one, other = (dict(load_model(str(tiny_model), NAMES, s).named_parameters()) for s in (1, 2))
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert differing == ["classifier.weight"]


def test_a_head_of_other_labels_is_drawn_anew(tiny_model: Path, tmp_path: Path) -> None:
    def head(folder: Path, names: tuple[str, ...], seed: int) -> torch.Tensor:
        return load_model(str(folder), names, seed).classifier.weight

    load_model(str(tiny_model), NAMES, seed=1).save_pretrained(tmp_path)
    assert torch.equal(head(tmp_path, NAMES, 2), head(tiny_model, NAMES, 1))
    assert torch.equal(head(tmp_path, ("a", "b"), 2), head(tiny_model, ("a", "b"), 2))


def test_shapes_are_those_of_the_model_without_its_weights(tiny_model: Path) -> None:
    shapes = shapes_only(str(tiny_model), NAMES)
    model = load_model(str(tiny_model), NAMES, 0)
    assert {p.device.type for p in shapes.parameters()} == {"meta"}
    assert {n: p.shape for n, p in shapes.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }


def test_the_preset_needs_only_a_new_classifier() -> None:
    assert source_of("minilm") == str(PRESETS["minilm"].folder())
    one, other = (dict(load_model("minilm", NAMES, seed).named_parameters()) for seed in (1, 2))
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert differing == ["classifier.weight"]
    encoder = sum(p.numel() for name, p in one.items() if not name.startswith("classifier"))
    assert encoder == PRESETS["minilm"].parameters


def test_the_presets_tokenizer_knows_words() -> None:
    ids = load_tokenizer("minilm")("federated learning")["input_ids"]
    assert ids[0] == 101
    assert ids[-1] == 102


@pytest.mark.parametrize("name", ["/no/such/folder", "./missing", "../missing", "~/missing-model"])
@pytest.mark.parametrize("load", [load_tokenizer, source_of])
def test_an_unknown_folder_is_named(name: str, load: Callable[[str], object]) -> None:
    with pytest.raises(
        ModelError, match=f"'{name}' is not a folder; allowed: minilm, bytes, a local"
    ):
        load(name)


@pytest.mark.parametrize(
    "load",
    [
        lambda name: load_model(name, NAMES, 0),
        lambda name: shapes_only(name, NAMES),
        load_tokenizer,
    ],
    ids=["model", "shapes", "tokenizer"],
)
@pytest.mark.parametrize("name", ["no-org/no-model", "nomodel", "not a model id", "a/b/c"])
def test_a_hub_id_offline_is_a_model_error(name: str, load: Callable[[str], object]) -> None:
    with pytest.raises(ModelError, match=f"'{name}' cannot be loaded; {ALLOWED}"):
        load(name)


@pytest.mark.parametrize(
    "load",
    [
        lambda name: load_model(name, NAMES, 0),
        lambda name: shapes_only(name, NAMES),
        load_tokenizer,
    ],
    ids=["model", "shapes", "tokenizer"],
)
def test_a_folder_without_a_model_is_a_model_error(
    tmp_path: Path, load: Callable[[str], object]
) -> None:
    with pytest.raises(ModelError, match=f"cannot be loaded; {ALLOWED}"):
        load(str(tmp_path))


def test_a_folder_with_a_broken_checkpoint_is_a_model_error(
    tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(tmp_path), NAMES, 0)


def test_tied_weights_count_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)})
    model["b"].weight = model["a"].weight
    assert list(weights_of(model)) == ["a.weight", "a.bias", "b.bias"]


def test_persistent_buffers_are_weights_too() -> None:
    names = list(weights_of(nn.BatchNorm1d(2)))
    assert names == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
