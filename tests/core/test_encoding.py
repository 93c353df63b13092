"""Lengths of encodings are those that the codec gives, to the byte."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.encoding import Encoding, encoded_bytes
from fedkrso_core.header import DTYPE_BYTES
from fedkrso_core.method import dtype_of
from fedkrso_core.payload import Payload, encode

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SHAPES = st.tuples(
    st.sampled_from(sorted(DTYPE_BYTES)), st.lists(st.integers(0, 12), max_size=3).map(tuple)
)
SCALARS = st.dictionaries(st.text(max_size=5), st.integers() | st.floats(-1, 1) | st.text())


def real(shapes: dict[str, tuple[str, tuple[int, ...]]], scalars: dict[str, object]) -> int:
    tensors = {n: torch.zeros(shape, dtype=dtype_of(kind)) for n, (kind, shape) in shapes.items()}
    return len(encode(Payload(tensors, scalars)))


@given(st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), SHAPES), SCALARS)
def test_the_length_is_that_of_the_encoding(
    shapes: dict[str, tuple[str, tuple[int, ...]]], scalars: dict[str, object]
) -> None:
    assert encoded_bytes(shapes, scalars) == real(shapes, scalars)


def test_groups_are_sized_together() -> None:
    groups = {
        k: {f"A/{k}/{n}": ("F32", (n, 4)) for n in range(1, 60)} for k in ("1", "10", "2", "dense")
    }
    encoding = Encoding(groups)
    for chosen in (["dense"], ["10", "2"], ["1", "10", "2", "dense"], []):
        shapes = {name: shape for k in chosen for name, shape in groups[k].items()}
        assert encoding.size(chosen, {"x": 1}) == real(shapes, {"x": 1})
        assert encoding.tensor_bytes(chosen) == sum(16 * s[0] for _, s in shapes.values())
