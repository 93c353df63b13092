"""The codec: what goes in comes out, equal payloads are equal bytes, nothing else gets through."""

import hashlib
import json
from contextlib import suppress

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from fedkrso_core.errors import PayloadError
from fedkrso_core.payload import Payload, decode, digest, encode, tensors_sha256

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
]
SMALL = Payload({"w": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([3.0])}, {"round": 1})
ENCODED = encode(SMALL)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def decode_or_refuse(data: bytes) -> None:
    """PayloadError is the only error that bytes may cause."""
    with suppress(PayloadError):
        decode(data)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_survives_the_round_trip(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1, 2], [3, 100, 7]]).to(dtype)
    back = decode(encode(Payload({"x": tensor}))).tensors["x"]
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1, 1, 1)], ids=str)
def test_every_shape_survives_the_round_trip(shape: tuple[int, ...]) -> None:
    back = decode(encode(Payload({"x": torch.ones(shape)}))).tensors["x"]
    assert torch.equal(back, torch.ones(shape))


def test_scalars_survive_the_round_trip() -> None:
    scalars = {
        "seed": 2**63 - 1,
        "lr": 1e-3,
        "on": True,
        "no": None,
        "list": [1, "ü"],
        "d": {"a": 1},
    }
    assert decode(encode(Payload(scalars=scalars))).scalars == scalars


def test_an_empty_payload_survives_the_round_trip() -> None:
    assert decode(encode(Payload())) == Payload({}, {})


def test_signed_zero_and_nan_keep_their_bits() -> None:
    tensor = torch.tensor([-0.0, float("nan"), float("-inf"), 1e-45])
    back = decode(encode(Payload({"x": tensor}))).tensors["x"]
    assert back.view(torch.int32).tolist() == tensor.view(torch.int32).tolist()


def test_equal_payloads_are_equal_bytes() -> None:
    turned = Payload(dict(reversed(SMALL.tensors.items())), {"round": 1})
    assert encode(turned) == ENCODED
    two = {"a": 1, "b": 2}
    assert encode(Payload({}, two)) == encode(Payload({}, dict(reversed(two.items()))))


def test_strides_and_gradients_do_not_show_in_the_bytes() -> None:
    plain = torch.arange(6.0).reshape(2, 3)
    strided = torch.arange(6.0).reshape(2, 3).T.contiguous().T.requires_grad_()
    assert encode(Payload({"x": strided})) == encode(Payload({"x": plain}))


def test_any_change_changes_the_digest() -> None:
    other_value = Payload({**SMALL.tensors, "b": torch.tensor([4.0])}, SMALL.scalars)
    other_scalar = Payload(SMALL.tensors, {"round": 2})
    assert len({digest(encode(p)) for p in (SMALL, other_value, other_scalar)}) == 3


def test_the_digest_is_sha256_in_hex() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"], ids=repr)
def test_scalars_that_are_not_json_are_refused(value: object) -> None:
    with pytest.raises(PayloadError, match="scalars are not JSON"):
        encode(Payload(scalars={"x": value}))


def test_under_gives_the_rest_of_the_names() -> None:
    payload = Payload({"A/0/x": torch.zeros(1), "A/1/x": torch.ones(1), "dense/y": torch.ones(2)})
    assert list(payload.under("A/")) == ["0/x", "1/x"]
    assert payload.under("B/") == {}


def test_the_tensors_digest_forgets_only_their_order() -> None:
    def sha(**tensors: Tensor) -> str:
        return tensors_sha256(tensors)

    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0])
    others = [
        sha(a=b, b=a),
        sha(a=a.reshape(2, 1), b=b),
        sha(a=a.view(torch.int32), b=b),
        sha(a=a, c=b),
        sha(a=a),
    ]
    assert sha(a=a, b=b) == sha(b=b, a=a)
    assert len({sha(a=a, b=b), *others}) == 6


def test_the_tensors_digest_never_changes() -> None:
    tensors = {"w": torch.tensor([[1.0, -2.0]]), "b": torch.tensor(3.0, dtype=torch.bfloat16)}
    expected = hashlib.sha256(
        b"b torch.bfloat16 ()\n" + b"\x40\x40" + b"w torch.float32 (1, 2)\n"
        b"\x00\x00\x80\x3f" + b"\x00\x00\x00\xc0"
    )
    assert tensors_sha256(tensors) == expected.hexdigest()


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_with_a_payload_error(data: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(data)


@given(st.integers(0, len(ENCODED) - 1))
def test_truncated_bytes_are_refused_with_a_payload_error(length: int) -> None:
    with pytest.raises(PayloadError):
        decode(ENCODED[:length])


@given(st.binary(min_size=1, max_size=50))
def test_padded_bytes_are_refused_with_a_payload_error(padding: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(ENCODED + padding)


@given(st.integers(0, 8 * len(ENCODED) - 1))
def test_a_flipped_bit_gives_no_other_error(bit: int) -> None:
    flipped = bytearray(ENCODED)
    flipped[bit // 8] ^= 1 << bit % 8
    decode_or_refuse(bytes(flipped))


@given(st.integers(len(ENCODED) - 7, 2**64 - 1))
def test_a_header_longer_than_the_body_is_refused(declared: int) -> None:
    with pytest.raises(PayloadError, match=f"header of {declared} bytes"):
        decode(declared.to_bytes(8, "little") + ENCODED[8:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_json_as_a_header_gives_no_other_error(header: object) -> None:
    decode_or_refuse(with_header(json.dumps(header).encode()))


@given(dtype=JSON, shape=JSON, offsets=JSON)
@example(dtype=["F32"], shape=[1], offsets=[0, 4])
@example(dtype="F32", shape=[float("inf")], offsets=[0, 4])
@example(dtype="F32", shape=["1e999"], offsets=[0, 4])
@example(dtype="F32", shape=[1], offsets=[0, "1e999"])
def test_any_json_as_a_tensor_gives_no_other_error(
    dtype: object, shape: object, offsets: object
) -> None:
    info = {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    huge = json.dumps(info).replace('"1e999"', "1e999")  # a number that Python reads as infinite
    decode_or_refuse(with_header(huge.encode(), bytes(4)))
