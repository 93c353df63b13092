"""GradualDiff-Fed (arXiv 2506.19164): changes are sent; with its options off it is FedAvg."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

Make = Callable[..., Any]


def gradual(federation: Make, **options: Any) -> Any:
    return federation(method={"name": "gradualdiff", **options}, local={"steps": 3})


def test_with_its_options_off_it_is_fedavg_bit_for_bit(federation: Make) -> None:
    own, other = gradual(federation), federation(method={"name": "fedavg"}, local={"steps": 3})
    for fed in (own, other):
        fed.play(2)
    assert own.states[-1].tensors.keys() == other.states[-1].tensors.keys()
    for name, value in own.states[-1].tensors.items():
        bits = value.view(torch.int32)
        assert torch.equal(bits, other.states[-1].tensors[name].view(torch.int32))


def test_what_is_sent_is_the_change(federation: Make) -> None:
    """A client that does not move sends zeros alone (but where a step of 1e-30 shows, on zeros)."""
    fed = federation(
        method={"name": "gradualdiff"}, local={"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    )
    base = fed.weights()
    for name, sent in fed.train(0).upload.under("delta/").items():
        assert not sent[base[name] != 0].any()


@pytest.mark.parametrize(("precision", "each"), [("exact", 4), ("bf16", 2), ("int8", 1)])
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_the_bytes_of_its_options_are_its_docstrings(
    federation: Make, precision: str, each: int, density: float
) -> None:
    fed = gradual(federation, precision=precision, density=density)
    sent = sum(tensor.nbytes for tensor in fed.train(0).upload.tensors.values())
    counts = [p.numel() for p in fed.model.parameters()]
    numbers = sum(math.ceil(density * n) if density < 1 else n for n in counts)
    places = 4 * numbers if density < 1 else 0
    scales = 4 * len(counts) if precision == "int8" else 0
    assert sent == each * numbers + places + scales


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"density": 0.2, "precision": "bf16"}])
def test_cut_changes_learn_too(federation: Make, options: dict[str, Any]) -> None:
    local = {"steps": 10, "batch_size": 8, "lr": 3e-3, "head_lr": 1e-2}
    fed = federation(method={"name": "gradualdiff", **options}, local=local)
    before = fed.loss()
    fed.play(3)
    assert fed.loss() < 0.8 * before


def test_a_client_alone_gives_its_own_weights_but_for_what_was_cut(federation: Make) -> None:
    fed = gradual(federation, density=0.25)
    base = fed.global_weights()
    update = fed.train(0)
    own = fed.weights()
    fed.close({0: update})
    for name, value in fed.global_weights().items():
        kept = torch.zeros(value.numel(), dtype=torch.bool)
        kept[update.upload.tensors[f"index/{name}"].long()] = True
        expected = torch.where(kept.view(value.shape), own[name], base[name])
        assert torch.allclose(value, expected, rtol=1e-6, atol=0)
