"""The random projection: fixed for ever by its docstring, the same bits wherever it is drawn."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkrso_core.ops.projection import checksum, projection, projections

SEED, LAYER = 1234567890123456789, "bert.encoder.layer.0.attention.self.query"


def reference(seed: int, layer: str, rank: int, d_in: int) -> np.ndarray:
    """The docstring's definition in numpy's uint64."""
    name = hashlib.sha256(layer.encode()).digest()[:8]
    with np.errstate(over="ignore"):
        key = mix(np.uint64(seed % 2**64) ^ np.frombuffer(name, "<u8")[0])
        j = np.arange(-(-rank * d_in // 64), dtype=np.uint64)
        words = mix(key + (j + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    signs = bits[: rank * d_in].reshape(rank, d_in).astype(np.float32) * 2 - 1
    return signs / np.float32(np.sqrt(rank))


def mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def sha(p: Tensor) -> str:
    return hashlib.sha256(p.cpu().numpy().tobytes()).hexdigest()


def test_its_bits_never_change() -> None:
    signs = (projection(7, "layer", 2, 8) * 2**0.5).round().int().tolist()
    assert signs == [[-1, 1, -1, 1, -1, -1, -1, 1], [1, -1, 1, 1, 1, -1, 1, -1]]
    large = projection(SEED, LAYER, 4, 384)
    assert sha(large) == "6c597670bb4fc634898ea9a7f3d6052257f1e51a96b804c2f2b5a61934b299c9"
    assert checksum([large]) == "dcef8bc819d831fa"


@given(
    seed=st.integers(0, 2**63 - 1),
    layer=st.text(max_size=20),
    rank=st.integers(1, 9),
    d_in=st.integers(1, 70),
)
def test_it_is_what_its_docstring_says(seed: int, layer: str, rank: int, d_in: int) -> None:
    expected = reference(seed, layer, rank, d_in)
    drawn = projection(seed, layer, rank, d_in).numpy()
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(np.sign(drawn), np.sign(expected))
    np.testing.assert_allclose(drawn, expected, rtol=1e-7)


@pytest.mark.parametrize("rank", [1, 3, 4, 16])
def test_entries_are_one_over_the_root_of_the_rank(rank: int) -> None:
    values = projection(SEED, LAYER, rank, 50).abs().unique()
    assert values.tolist() == [pytest.approx(rank**-0.5, rel=1e-7)]


def test_on_average_p_transposed_p_is_the_identity() -> None:
    total = torch.zeros(12, 12)
    for seed in range(2000):
        p = projection(seed, LAYER, 4, 12)
        total += p.T @ p
    assert torch.allclose(total / 2000, torch.eye(12), atol=0.06)  # 5 sigma


def test_both_signs_are_equally_frequent_everywhere() -> None:
    mean = torch.stack([projection(seed, LAYER, 1, 130) for seed in range(2000)]).mean(0)
    assert mean.abs().max() < 0.12  # 5 sigma


def test_layers_and_seeds_give_different_projections() -> None:
    drawn = [projection(s, name, 4, 64) for s in (1, 2, 2**62) for name in ("a", "b", "a.b")]
    assert len({sha(p) for p in drawn}) == 9


def test_many_layers_in_one_pass_are_the_same_bits() -> None:
    sizes = {"a": 1, "b": 64, "c": 33, "a.b": 200}
    for rank in (1, 3, 16):
        for name, p in projections(SEED, sizes, rank).items():
            assert torch.equal(p, projection(SEED, name, rank, sizes[name]))


def test_the_order_of_the_layers_does_not_matter() -> None:
    sizes = {"a": 10, "b": 20, "c": 30}
    forwards = projections(SEED, sizes, 3)
    backwards = projections(SEED, dict(reversed(sizes.items())), 3)
    assert all(torch.equal(forwards[name], backwards[name]) for name in sizes)


def test_the_number_of_threads_does_not_matter() -> None:
    one = projection(SEED, LAYER, 64, 1536)
    torch.set_num_threads(2)
    try:
        two = projection(SEED, LAYER, 64, 1536)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one, two)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    projection(SEED, LAYER, 4, 64)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_the_instruction_set_does_not_matter(capability: str) -> None:
    code = (
        "import hashlib; from fedkrso_core.ops.projection import projection;"
        f"p = projection({SEED}, {LAYER!r}, 7, 1001);"
        "print(hashlib.sha256(p.numpy().tobytes()).hexdigest())"
    )
    env = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == sha(projection(SEED, LAYER, 7, 1001))


@pytest.mark.gpu
def test_the_device_does_not_matter() -> None:
    on_gpu = projection(SEED, LAYER, 7, 1001, "cuda")
    assert torch.equal(on_gpu.cpu(), projection(SEED, LAYER, 7, 1001))


def test_the_checksum_sees_a_single_sign_and_the_order() -> None:
    first, second = projection(1, "a", 2, 5), projection(1, "b", 2, 5)
    changed = first.clone()
    changed[1, 4] *= -1
    sums = {checksum(ps) for ps in ([first, second], [second, first], [changed, second], [first])}
    assert len(sums) == 4
    assert checksum(iter([first, second])) in sums
