"""The second implementation of P, in numpy, and the one in the documentation for other clients."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.ops import projection as in_torch
from fedkrso_core.ops.projection import Distribution
from fedkrso_core.ops.projection_numpy import checksum, projection

SEED, LAYER = 1234567890123456789, "bert.encoder.layer.0.attention.self.query"
PROTOCOL = Path(__file__).parents[3] / "docs/http-protocol.md"
EACH = pytest.mark.parametrize("kind", ["sign", "gaussian"])


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    assert one.dtype == other.dtype == np.float32
    return np.array_equal(one.view(np.int32), other.view(np.int32))  # -0 is not 0


@given(
    seed=st.integers(0, 2**63 - 1),
    layer=st.text(max_size=20),
    rank=st.integers(1, 9),
    d_in=st.integers(1, 70),
    kind=st.sampled_from(["sign", "gaussian"]),
)
def test_torch_and_numpy_draw_the_same_bits(
    seed: int, layer: str, rank: int, d_in: int, kind: Distribution
) -> None:
    drawn = in_torch.projection(seed, layer, rank, d_in, distribution=kind).numpy()
    assert same_bits(drawn, projection(seed, layer, rank, d_in, distribution=kind))


@EACH
@pytest.mark.parametrize(
    ("rank", "d_in"), [(1, 1), (4, 768), (4, 3072), (16, 1023), (128, 4097)], ids=str
)
def test_so_they_do_for_large_layers(kind: Distribution, rank: int, d_in: int) -> None:
    drawn = in_torch.projection(SEED, LAYER, rank, d_in, distribution=kind).numpy()
    assert same_bits(drawn, projection(SEED, LAYER, rank, d_in, distribution=kind))


@pytest.mark.parametrize(
    ("kind", "expected"), [("sign", "dcef8bc819d831fa"), ("gaussian", "ce2f71bbb401ad9c")]
)
def test_the_checksums_never_change(kind: Distribution, expected: str) -> None:
    assert checksum(SEED, {LAYER: 384}, 4, kind) == expected


@EACH
def test_a_checksum_is_that_of_what_torch_draws(kind: Distribution) -> None:
    sizes = {"b": 33, "a": 5, "c": 64}
    total = hashlib.sha256()
    for p in in_torch.projections(SEED, sizes, 3, distribution=kind).values():
        total.update((p > 0).numpy().tobytes())
    assert checksum(SEED, sizes, 3, kind) == total.hexdigest()[:16]


@EACH
def test_the_checksum_sees_the_seed_the_order_the_shapes_and_the_names(kind: Distribution) -> None:
    sums = {
        checksum(1, {"a": 50, "b": 50}, 2, kind),
        checksum(2, {"a": 50, "b": 50}, 2, kind),
        checksum(1, {"b": 50, "a": 50}, 2, kind),
        checksum(1, {"a": 50, "b": 51}, 2, kind),
        checksum(1, {"a": 50, "b": 50}, 3, kind),
        checksum(1, {"a": 50, "c": 50}, 2, kind),
        checksum(1, {"a": 50}, 2, kind),
    }
    assert len(sums) == 7


def documented() -> dict[str, Any]:
    """What the code in the protocol's description defines."""
    blocks = re.findall(r"```python\n(.*?)```", PROTOCOL.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "def projection(" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    return names


@EACH
def test_the_documented_code_draws_the_same_bits(kind: Distribution) -> None:
    foreign = documented()
    for seed, layer, rank, d_in in ((42, "bert.pooler.dense", 2, 8), (SEED, "é.1", 3, 37)):
        drawn = foreign["projection"](seed, layer, rank, d_in, kind)
        assert same_bits(drawn, projection(seed, layer, rank, d_in, distribution=kind))
    layers = {"b": 33, "a": 5}
    assert foreign["checksum"](7, list(layers.items()), 3, kind) == checksum(7, layers, 3, kind)


@EACH
def test_the_documented_examples_are_true(kind: Distribution) -> None:
    text = PROTOCOL.read_text(encoding="utf-8")
    assert f"`{checksum(42, {'bert.pooler.dense': 8}, 2, kind)}`" in text
    for word in (0xFA10CAAB9887F119, 0x8612ABF6A23F628E):
        assert f"{word:#018x}" in text
    drawn = projection(42, "bert.pooler.dense", 2, 8, distribution=kind)
    sha256 = hashlib.sha256(drawn.tobytes()).hexdigest()
    assert sha256 in text
