"""The random projection: fixed for ever by its docstring, the same bits wherever it is drawn."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fedkrso_core.ops import projection as module
from fedkrso_core.ops.projection import (
    Distribution,
    Scratch,
    groups,
    projection,
    projections,
    stacked_projections,
)

SEED, LAYER = 1234567890123456789, "bert.encoder.layer.0.attention.self.query"
KINDS: list[Distribution] = ["sign", "gaussian"]
EACH = pytest.mark.parametrize("kind", KINDS)
# of P (4, 384), and of P (64, 1536), which is large enough to be divided among threads
GOLDEN = {
    "sign": "6c597670bb4fc634898ea9a7f3d6052257f1e51a96b804c2f2b5a61934b299c9",
    "gaussian": "171e4de3ee79d018c80ca4e04a2728ed8d7acbc83e4e5cc6bf136a4ef015c3a0",
}
GOLDEN_LARGE = {
    "sign": "907f323841195fafa2fa93f911d68e4d4551cd804b47254487f9174939012d68",
    "gaussian": "7071d0721330678a83d2cbb5219ffa3c21ab87f1ba0e007f8c4abf4954dc5321",
}


def sha(p: Tensor) -> str:
    return hashlib.sha256(p.cpu().numpy().tobytes()).hexdigest()


def units(kind: Distribution, unit: float) -> list[list[int]]:
    p = projection(7, "layer", 2, 8, distribution=kind)
    return (p * 2**0.5 / unit).round().int().tolist()


def test_the_signs_never_change() -> None:
    assert units("sign", 1) == [[-1, 1, -1, 1, -1, -1, -1, 1], [1, -1, 1, 1, 1, -1, 1, -1]]


def test_the_gaussian_numbers_never_change() -> None:
    assert units("gaussian", 1 / 4096) == [
        [-1409, 2624, 134, 2137, 2413, 5741, 1629, -1834],
        [-1860, 5199, 3375, -6401, -517, 7078, -8419, 4222],
    ]


@EACH
def test_the_bytes_never_change(kind: Distribution) -> None:
    assert sha(projection(SEED, LAYER, 4, 384, distribution=kind)) == GOLDEN[kind]
    assert sha(projection(SEED, LAYER, 64, 1536, distribution=kind)) == GOLDEN_LARGE[kind]


@pytest.mark.parametrize("rank", [1, 3, 4, 16])
def test_signs_are_one_over_the_root_of_the_rank(rank: int) -> None:
    values = projection(SEED, LAYER, rank, 50).abs().unique()
    assert values.tolist() == [pytest.approx(rank**-0.5, rel=1e-7)]


@EACH
def test_on_average_p_transposed_p_is_the_identity(kind: Distribution) -> None:
    total = torch.zeros(12, 12)
    for seed in range(2000):
        p = projection(seed, LAYER, 4, 12, distribution=kind)
        total += p.T @ p
    assert torch.allclose(total / 2000, torch.eye(12), atol=0.08)  # 5 sigma


@EACH
def test_every_entry_has_mean_zero_and_variance_one(kind: Distribution) -> None:
    drawn = torch.stack([projection(s, LAYER, 1, 130, distribution=kind) for s in range(2000)])
    assert drawn.mean(0).abs().max() < 0.12  # 5 sigma
    assert (drawn.square().mean(0) - 1).abs().max() < 0.16


def test_gaussian_numbers_are_as_often_large_as_they_should_be() -> None:
    drawn = projection(SEED, LAYER, 1, 10**6, distribution="gaussian").abs()
    for limit, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        expected = pytest.approx(share, abs=5 * (share / 10**6) ** 0.5)
        assert (drawn > limit).float().mean().item() == expected


@EACH
def test_layers_and_seeds_give_different_projections(kind: Distribution) -> None:
    names, seeds = ("a", "b", "a.b"), (1, 2, 2**62)
    drawn = [projection(s, name, 4, 64, distribution=kind) for s in seeds for name in names]
    assert len({sha(p) for p in drawn}) == 9


@EACH
@pytest.mark.parametrize("rank", [1, 3, 16])
def test_many_layers_in_one_pass_are_the_same_bits(kind: Distribution, rank: int) -> None:
    sizes = {"a": 1, "b": 64, "c": 33, "a.b": 200}
    for name, p in projections(SEED, sizes, rank, distribution=kind).items():
        assert torch.equal(p, projection(SEED, name, rank, sizes[name], distribution=kind))


@EACH
@pytest.mark.parametrize("rank", [1, 3, 16])
def test_many_seeds_in_one_pass_lie_below_each_other(kind: Distribution, rank: int) -> None:
    sizes, seeds = {"a": 1, "b": 64, "c": 33, "d": 20}, [SEED, 0, 2**63 - 1]
    for name, p in stacked_projections(seeds, sizes, rank, Scratch(), distribution=kind).items():
        each = [projection(seed, name, rank, sizes[name], distribution=kind) for seed in seeds]
        assert torch.equal(p, torch.cat(each))


@EACH
def test_whole_words_are_not_copied(kind: Distribution) -> None:
    drawn = stacked_projections([1, 2], {"a": 32, "b": 64}, 4, Scratch(), distribution=kind)
    assert drawn["a"].untyped_storage()._cdata == drawn["b"].untyped_storage()._cdata


@EACH
def test_a_draw_into_used_memory_is_the_same(kind: Distribution) -> None:
    scratch = Scratch()
    stacked_projections([9, 8, 7], {"x": 500}, 4, scratch, distribution=kind)
    again = stacked_projections([SEED], {LAYER: 384}, 4, scratch, distribution=kind)[LAYER]
    assert sha(again) == GOLDEN[kind]


@EACH
def test_each_layer_keeps_its_numbers_when_others_are_drawn(
    kind: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = dict.fromkeys("abcdef", 64)
    whole = projections(SEED, sizes, 4, distribution=kind)
    monkeypatch.setattr(module, "GROUP", 4 * 64 * 2)
    parts = projections(SEED, sizes, 4, distribution=kind)
    assert list(parts) == list(sizes)
    assert all(torch.equal(parts[name], whole[name]) for name in sizes)


def test_layers_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 100)
    sizes = {"a": 20, "b": 30, "c": 1, "larger than a group": 90, "d": 10}
    assert list(groups(sizes, 2)) == [
        {"a": 20, "b": 30},
        {"c": 1},
        {"larger than a group": 90},
        {"d": 10},
    ]


@EACH
def test_the_order_of_the_layers_does_not_matter(kind: Distribution) -> None:
    sizes = {"a": 10, "b": 20, "c": 30}
    forwards = projections(SEED, sizes, 3, distribution=kind)
    backwards = projections(SEED, dict(reversed(sizes.items())), 3, distribution=kind)
    assert all(torch.equal(forwards[name], backwards[name]) for name in sizes)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    projection(SEED, LAYER, 4, 64)
    projection(SEED, LAYER, 4, 64, distribution="gaussian")
    assert torch.equal(torch.get_rng_state(), before)


@EACH
def test_it_can_be_drawn_without_memory(kind: Distribution) -> None:
    with FakeTensorMode():
        fake = stacked_projections([1, 2], {"a": 7, "b": 64}, 3, Scratch(), distribution=kind)
        alone = projection(1, "a", 3, 7, distribution=kind)
    assert [tuple(p.shape) for p in fake.values()] == [(6, 7), (6, 64)]
    assert all(isinstance(p, FakeTensor) for p in (alone, *fake.values()))
    real = projection(SEED, LAYER, 4, 384, distribution=kind)  # nothing fake was kept
    assert sha(real) == GOLDEN[kind]


@EACH
def test_the_number_of_threads_does_not_matter(kind: Distribution) -> None:
    torch.set_num_threads(2)
    try:
        drawn = projection(SEED, LAYER, 64, 1536, distribution=kind)
    finally:
        torch.set_num_threads(1)
    assert sha(drawn) == GOLDEN_LARGE[kind]


DRAW = f"""
import hashlib, torch
from fedkrso_core.ops.projection import projection
for threads in (1, 2):
    torch.set_num_threads(threads)
    for kind in {KINDS}:
        p = projection({SEED}, {LAYER!r}, 64, 1536, distribution=kind)
        print(hashlib.sha256(p.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_the_instruction_set_does_not_matter(capability: str) -> None:
    """torch takes the nearest one that the processor has."""
    env = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run([sys.executable, "-c", DRAW], env=env, capture_output=True, text=True)
    assert done.stdout.split() == [GOLDEN_LARGE[kind] for kind in KINDS] * 2, done.stderr


@pytest.mark.gpu
@EACH
@pytest.mark.parametrize(("rank", "d_in"), [(4, 384), (7, 1001), (64, 1536), (1, 1)])
def test_the_device_does_not_matter(kind: Distribution, rank: int, d_in: int) -> None:
    on_gpu = projection(SEED, LAYER, rank, d_in, "cuda", distribution=kind)
    assert on_gpu.device.type == "cuda"
    here = projection(SEED, LAYER, rank, d_in, distribution=kind)
    assert np.array_equal(on_gpu.cpu().numpy().view(np.int32), here.numpy().view(np.int32))
