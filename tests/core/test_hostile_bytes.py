"""Bytes of strangers: whatever they are, PayloadError is the only error and memory is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.errors import PayloadError
from fedkrso_core.expect import Expected, Group, check_upload
from fedkrso_core.payload import Payload, decode, encode
from fedkrso_core.wire import compress, restore
from tests.core import hostile

SCALARS = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=3)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.int8, torch.uint8])
SHAPES = st.lists(st.integers(0, 4), max_size=3)
WIRES = st.sampled_from(["bf16", "int8", "int4"])
NAMES = st.text(st.characters(codec="utf-8"), max_size=6)


@st.composite
def payloads(draw: st.DrawFn, dtypes: st.SearchStrategy[torch.dtype] = DTYPES) -> Payload:
    seed = draw(st.integers(0, 99))
    rng = torch.Generator().manual_seed(seed)
    drawn = draw(st.dictionaries(NAMES, st.tuples(SHAPES, dtypes), max_size=4))
    made = {n: (torch.randn(s, generator=rng) * 50).to(d) for n, (s, d) in drawn.items()}
    return Payload(made, draw(SCALARS))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid encoding with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(encode(draw(payloads())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 16))
        data[at : at + length] = draw(st.binary(max_size=16))
    return bytes(data)


@given(payloads())
def test_what_is_encoded_is_decoded_to_the_same_bytes(payload: Payload) -> None:
    encoded = encode(payload)
    assert encode(decode(encoded)) == encoded


@given(damaged())
def test_damage_is_a_payload_error_or_another_payload(data: bytes) -> None:
    with suppress(PayloadError):
        # what is read at all can be written again: nothing half-read gets through
        encode(decode(data))


@given(damaged())
def test_door_and_decoder_agree_on_damaged_bytes(data: bytes) -> None:
    """Else an upload that was accepted would break the aggregation of everybody's round."""
    from fedkrso_core.header import header_length, parse_header

    try:
        header = parse_header(data[8 : 8 + header_length(data[:8], len(data))], len(data))
    except PayloadError:
        with pytest.raises(PayloadError):
            decode(data)
    else:
        assert set(decode(data).tensors) == set(header.tensors)


def shapes_of(payload: Payload) -> dict[str, tuple[int, ...]]:
    floats = {n: t for n, t in payload.tensors.items() if t.dtype == torch.float32}
    return {name: tuple(tensor.shape) for name, tensor in floats.items()}


@given(payloads(), WIRES)
def test_restoring_undoes_compressing_but_for_the_lost_bits(payload: Payload, wire: Any) -> None:
    back = restore(decode(encode(compress(payload, wire))), wire, shapes_of(payload))
    assert {n: t.shape for n, t in back.tensors.items()} == {
        n: t.shape for n, t in payload.tensors.items()
    }
    assert back.scalars == payload.scalars


@given(
    payloads(st.sampled_from([torch.float32, torch.bfloat16, torch.int8, torch.uint8])),
    WIRES,
    st.lists(st.integers(0, 2**40), max_size=3),
)
def test_codes_of_another_form_are_a_payload_error(
    payload: Payload, wire: Any, shape: list[int]
) -> None:
    claimed = Payload(payload.tensors, {"wire": wire})
    with suppress(PayloadError):
        restore(claimed, wire, dict.fromkeys(payload.tensors, tuple(shape)))


def test_hostile_bytes_are_refused_with_hardly_any_memory() -> None:
    done = subprocess.run(
        [sys.executable, hostile.__file__], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "all refused\n"), done.stderr


@pytest.mark.parametrize("name", ["w", "ü" * 500, '"' * 500, "\N{GRINNING FACE}" * 500])
def test_an_honest_header_is_below_the_limit_of_the_door(tmp_path: Path, name: str) -> None:
    expected = Expected(required=Group(tensors={name: ("F32", (2,))}, scalars={name: "f" * 16}))
    scalars = {name: "f" * 16, "num_examples": 10, "metrics": {"loss": 1.0}}
    path = tmp_path / "update"
    path.write_bytes(encode(Payload({name: torch.ones(2)}, scalars)))
    assert check_upload(path, expected, 10).scalars == scalars


def test_a_header_longer_than_any_honest_one_is_refused_unread(tmp_path: Path) -> None:
    expected = Expected(required=Group(tensors={"w": ("F32", (2,))}))
    path = tmp_path / "update"
    path.write_bytes(hostile.body(json.dumps({"x": "y" * 100_000}).encode()))
    with pytest.raises(
        PayloadError, match="declares a header of 100009 bytes; allowed: at most 65"
    ):
        check_upload(path, expected, 10)
