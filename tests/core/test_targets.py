"""Which layers are trained, and what is said when none can be."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.models import load_model
from fedkrso_core.ops.targets import (
    check_rank,
    copy_into,
    head_names,
    norm_and_bias_names,
    only_trainable,
    target_linears,
)


@pytest.fixture
def model(tiny_model: Path) -> nn.Module:
    return load_model(str(tiny_model), ("a", "b", "c"), 0)


def test_the_head_is_what_lies_outside_the_encoder(model: nn.Module) -> None:
    assert head_names(model) == ["classifier.weight", "classifier.bias"]


def test_all_linear_takes_every_layer_but_the_head(model: nn.Module) -> None:
    names = list(target_linears(model, "all-linear"))
    assert len(names) == 2 * 6 + 1  # six in each layer, and the pooler
    assert names[0] == "bert.encoder.layer.0.attention.self.query"
    assert names[-1] == "bert.pooler.dense"


def test_endings_take_the_layers_of_that_name(model: nn.Module) -> None:
    names = list(target_linears(model, ("query", "output.dense")))
    assert [name.removeprefix("bert.encoder.layer.0.") for name in names[:3]] == [
        "attention.self.query",
        "attention.output.dense",
        "output.dense",
    ]
    assert len(names) == 6


def test_part_of_a_word_is_no_ending(model: nn.Module) -> None:
    with pytest.raises(MethodError, match=r"\['uery'\] match no layer; there are .*'self.query'"):
        target_linears(model, ("uery",))


def test_a_rank_above_a_layers_size_names_the_layer(model: nn.Module) -> None:
    with pytest.raises(MethodError, match=r"33 is above .*query \(32, 32\); allowed: 1 to 32") as e:
        target_linears(model, "all-linear", 33)
    assert e.value.field == "rank"
    assert len(target_linears(model, "all-linear", 32)) == 13


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(MethodError, match="no Linear layer to adapt"):
        check_rank({}, 1)


def test_norms_and_biases_are_those_of_the_encoder(model: nn.Module) -> None:
    names = norm_and_bias_names(model)
    parameters = dict(model.named_parameters())
    assert all(parameters[name].ndim == 1 for name in names)
    assert "bert.encoder.layer.1.output.LayerNorm.weight" in names
    assert "classifier.bias" not in names
    assert len(names) == 2 + 2 * (6 + 4) + 1


def test_only_the_named_parameters_are_trainable(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chosen = only_trainable(model, ["classifier.bias"])
    assert list(chosen) == [n for n, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape"), [("classifier.bias", (4,)), ("classifier.weight", (32, 3)), ("no", (3,))]
)
def test_a_tensor_that_fits_no_parameter_is_refused(
    model: nn.Module, name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(MethodError, match=f"tensor '{name}' .* fits no parameter"):
        copy_into(model, {name: torch.zeros(shape)})


def test_tensors_are_copied_by_name(model: nn.Module) -> None:
    value = torch.tensor([1.0, 2.0, 3.0])
    copy_into(model, {"classifier.bias": value})
    value.zero_()
    assert model.classifier.bias.tolist() == [1.0, 2.0, 3.0]
