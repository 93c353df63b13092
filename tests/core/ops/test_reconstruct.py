"""Weights rebuilt from accumulators and seeds: W <- D W + sum_k A_k P_k."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fedkrso_core.ops import projection as drawing
from fedkrso_core.ops.projection import Distribution, projection
from fedkrso_core.ops.reconstruct import reconstruct

SHAPES = {"a": (3, 16), "b.c": (5, 33), "d": (7, 64)}
SEEDS, RANK = [11, 2**62, 33, 44], 4  # rank 4: signs are +-1/2, and sums of integers are exact
EACH = pytest.mark.parametrize("kind", ["sign", "gaussian"])


def integers(*shape: int) -> Tensor:
    """Small whole numbers, so that float32 sums with signs are exact in any order."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(-3, 4, shape, generator=generator).float()


def weights() -> dict[str, Tensor]:
    return {name: integers(*shape) for name, shape in SHAPES.items()}


def accumulators(*used: int, shapes: dict[str, tuple[int, int]] | None = None) -> dict[str, Tensor]:
    layers = SHAPES if shapes is None else shapes
    return {f"{k}/{n}": integers(d_out, RANK) + k for k in used for n, (d_out, _) in layers.items()}


def plain(
    before: Tensor, name: str, accumulated: dict[str, Tensor], kind: Distribution, decay: float = 1
) -> Tensor:
    """The equation, one product for each k, in float64."""
    total = decay * before.double()
    for key, a in accumulated.items():
        k, layer = key.split("/")
        if layer == name:
            p = projection(SEEDS[int(k)], name, RANK, before.shape[1], distribution=kind)
            total += a.double() @ p.double()
    return total


@pytest.mark.parametrize("used", [(0,), (2,), (0, 3), (0, 1, 2, 3)], ids=str)
def test_it_is_the_sum_of_the_products(used: tuple[int, ...]) -> None:
    after, accumulated = weights(), accumulators(*used)
    reconstruct(after, accumulated, SEEDS, RANK)
    for name, before in weights().items():
        assert torch.equal(after[name].double(), plain(before, name, accumulated, "sign"))


@EACH
def test_decay_shrinks_what_was_there_before(kind: Distribution) -> None:
    after, accumulated = weights(), accumulators(1, 2)
    reconstruct(after, accumulated, SEEDS, RANK, decay=0.9, distribution=kind)
    for name, before in weights().items():
        expected = plain(before, name, accumulated, kind, 0.9)
        assert torch.allclose(after[name].double(), expected, atol=1e-5)


def test_the_tenth_subspace_comes_after_the_second() -> None:
    """Numbers are ordered as numbers; joined in the order of text, P would not fit A."""
    seeds, used = list(range(100, 112)), (2, 10)
    after, accumulated = weights(), accumulators(*used)
    reconstruct(after, accumulated, seeds, RANK)
    for name, before in weights().items():
        p = {k: projection(seeds[k], name, RANK, before.shape[1]) for k in used}
        assert torch.equal(
            after[name], before + sum(accumulated[f"{k}/{name}"] @ p[k] for k in used)
        )


def test_a_transposed_weight_is_written_in_place() -> None:
    stored = {name: w.T.contiguous() for name, w in weights().items()}
    upright, accumulated = weights(), accumulators(0, 1)
    reconstruct({name: w.T for name, w in stored.items()}, accumulated, SEEDS, RANK)
    reconstruct(upright, accumulated, SEEDS, RANK)
    assert all(torch.equal(stored[name].T, upright[name]) for name in SHAPES)


def test_parameters_are_written_without_a_gradient() -> None:
    layer = torch.nn.Linear(16, 3)
    before = layer.weight.detach().clone()
    reconstruct({"a": layer.weight}, accumulators(0, shapes={"a": (3, 16)}), SEEDS, RANK)
    assert layer.weight.grad_fn is None
    assert not torch.equal(layer.weight, before)


def test_nothing_accumulated_changes_nothing() -> None:
    after = weights()
    reconstruct(after, {}, SEEDS, RANK)
    assert all(torch.equal(after[name], before) for name, before in weights().items())


def test_a_layer_without_its_accumulator_is_an_error() -> None:
    accumulated = accumulators(0, 1)
    del accumulated["1/d"]
    with pytest.raises(KeyError, match="1/d"):
        reconstruct(weights(), accumulated, SEEDS, RANK)


@EACH
def test_groups_change_nothing(kind: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    together, alone, accumulated = weights(), weights(), accumulators(0, 1, 3)
    reconstruct(together, accumulated, SEEDS, RANK, distribution=kind)
    monkeypatch.setattr(drawing, "GROUP", 1)
    reconstruct(alone, accumulated, SEEDS, RANK, distribution=kind)
    assert all(torch.equal(alone[name], together[name]) for name in SHAPES)


@EACH
def test_neither_all_p_nor_all_a_are_ever_in_memory(
    kind: Distribution, monkeypatch: pytest.MonkeyPatch, live_bytes: Any
) -> None:
    """40 equal layers, drawn two at a time: what comes up is far below all their P together."""
    d_in, used = 4096, (0, 1, 2, 3)
    shapes = {f"layer.{i}": (d_in, d_in // 8) for i in range(40)}
    rows = len(used) * RANK
    p_bytes, a_bytes = 4 * rows * d_in // 8, 4 * rows * d_in
    monkeypatch.setattr(drawing, "GROUP", 2 * rows * d_in // 8)
    matrices = {name: torch.zeros(shape) for name, shape in shapes.items()}
    accumulated = accumulators(*used, shapes=shapes)
    with live_bytes(*matrices.values(), *accumulated.values()) as seen:
        reconstruct(matrices, accumulated, SEEDS, RANK, distribution=kind)
    # gaussian numbers take words, their shifted copy and their 16-bit parts beside the P of a
    # group, and the table
    factor, fixed = {"sign": (1.1, 4096), "gaussian": (3.1, 4 * 65536)}[kind]
    assert a_bytes < seen.peak <= a_bytes + factor * 2 * p_bytes + fixed
    assert seen.peak < 0.25 * len(shapes) * (p_bytes + a_bytes)


def test_it_runs_on_tensors_without_memory() -> None:
    with FakeTensorMode():
        fake = {name: torch.empty(shape) for name, shape in SHAPES.items()}
        accumulated = {f"0/{name}": torch.empty(shape[0], RANK) for name, shape in SHAPES.items()}
        reconstruct(fake, accumulated, SEEDS, RANK, decay=0.5, distribution="gaussian")
    assert {name: tuple(w.shape) for name, w in fake.items()} == SHAPES


@pytest.mark.gpu
@EACH
def test_on_a_gpu_it_is_the_same_up_to_rounding(kind: Distribution) -> None:
    here, there = weights(), {name: w.cuda() for name, w in weights().items()}
    accumulated = accumulators(0, 2)
    reconstruct(here, accumulated, SEEDS, RANK, decay=0.5, distribution=kind)
    reconstruct(there, accumulated, SEEDS, RANK, decay=0.5, distribution=kind)
    assert all(torch.allclose(there[name].cpu(), here[name], atol=1e-4) for name in SHAPES)
