"""GPT-2: its layers store W^T, it has no padding token, and every method trains it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedkrso_core.models import load_model, load_tokenizer, shapes_only
from fedkrso_core.ops.layers import d_in_of, d_out_of, is_affine, matrix_of
from fedkrso_core.ops.lora import merge
from fedkrso_core.ops.projection import projection
from fedkrso_core.ops.subspace import SubspaceLinear
from fedkrso_core.ops.targets import target_linears
from tests.core.rows import ROWS

LABELS = ("animals", "tools", "weather")


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A two-layer GPT-2, 32 wide, whose tokenizer has an end token and no padding token."""
    import transformers

    folder = tmp_path_factory.mktemp("gpt2")
    shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    config = transformers.GPT2Config(
        vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=32, initializer_range=0.15,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GPT2Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(1)
    return Conv1D(3, 4)  # d_out 3, d_in 4


def test_its_matrix_is_a_view_of_the_transposed_weight() -> None:
    layer = conv1d()
    assert is_affine(layer)
    assert (d_out_of(layer), d_in_of(layer)) == (3, 4)
    with torch.no_grad():
        matrix_of(layer)[2, 1] = 7.0
    assert layer.weight[1, 2] == 7.0


def test_the_stand_in_computes_and_writes_as_for_a_linear_layer() -> None:
    layer = conv1d()
    linear = nn.Linear(4, 3)
    with torch.no_grad():
        linear.weight.copy_(matrix_of(layer))
        linear.bias.copy_(layer.bias)
    p = projection(1, "layer", 2, 4)
    results = []
    for one in (layer.requires_grad_(False), linear.requires_grad_(False)):
        stand_in, x = SubspaceLinear(one, 2), torch.ones(5, 4, requires_grad=True)
        stand_in.enter(p)
        y = stand_in(x)
        y.square().sum().backward()
        stand_in.b.data -= 0.1 * stand_in.b.grad
        stand_in.write()
        results.append((y, x.grad, stand_in.b.grad, matrix_of(one)))
    for of_conv1d, of_linear in zip(*results, strict=True):
        torch.testing.assert_close(of_conv1d, of_linear)
    a, b = torch.ones(2, 4), torch.ones(3, 2)
    before = matrix_of(layer).clone()
    merge(layer, a, b, 0.5)
    torch.testing.assert_close(matrix_of(layer), before + 1.0)


def test_all_layers_of_gpt2_are_found_and_the_head_is_not(gpt2_folder: Path) -> None:
    layers = target_linears(shapes_only(str(gpt2_folder), LABELS), "all-linear")
    assert len(layers) == 2 * 4  # attention in and out, MLP in and out
    assert {(d_out_of(m), d_in_of(m)) for m in layers.values()} == {
        (96, 32), (32, 32), (128, 32), (32, 128),
    }  # fmt: skip


def test_padding_is_the_end_token_and_moves_no_answer(gpt2_folder: Path) -> None:
    model = load_model(str(gpt2_folder), LABELS, seed=0).eval()
    tokenizer = load_tokenizer(str(gpt2_folder))
    assert tokenizer.pad_token == tokenizer.eos_token
    alone = tokenizer(["the cat"], return_tensors="pt")
    texts = ["the cat", "a big hammer near the old saw"]
    padded = tokenizer(texts, padding=True, return_tensors="pt")
    torch.testing.assert_close(model(**alone).logits[0], model(**padded).logits[0])


@pytest.mark.parametrize("method", [name for name, row in ROWS.items() if not row.only_losses])
def test_every_method_learns_with_gpt2(
    federation: Callable[..., Any], gpt2_folder: Path, method: str
) -> None:
    lr = 3e-3 if ROWS[method].moves_everything else 1e-2
    fed = federation(
        model=str(gpt2_folder),
        method={"name": method},
        local={"steps": 12, "batch_size": 8, "lr": lr},
    )
    who = 0 if fed.method.is_personal else None  # the model that is learnt
    before = fed.loss(who)
    fed.play(2)
    assert fed.loss(who) < 0.9 * before


@pytest.mark.parametrize("method", [name for name, row in ROWS.items() if row.only_losses])
def test_the_loss_along_a_step_falls_with_gpt2(
    federation: Callable[..., Any], gpt2_folder: Path, method: str
) -> None:
    """Of methods that learn too slowly for a test: many steps on one batch of all rows."""
    fed = federation(
        model=str(gpt2_folder),
        method={"name": method},
        partition={"kind": "iid"},
        clients={"count": 1, "per_round": 1},
        local={"steps": 30, "batch_size": 120, "lr": 1e-3},
    )
    before = fed.loss()
    fed.play(1)
    assert fed.loss() < before


def test_the_server_rebuilds_the_mean_of_the_clients_gpt2(
    federation: Callable[..., Any], gpt2_folder: Path
) -> None:
    fed = federation(model=str(gpt2_folder), method={"name": "fedkrso"})
    updates, weights = {}, {}
    for client in range(3):
        updates[client] = fed.train(client)
        weights[client] = fed.weights()
    fed.close(updates)
    total = sum(fed.sizes)
    for name, value in fed.global_weights().items():
        mean = sum(fed.sizes[c] / total * weights[c][name] for c in weights)
        torch.testing.assert_close(value, mean, rtol=0, atol=2e-6)
