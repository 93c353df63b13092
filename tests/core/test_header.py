"""Reading a header without torch and without trusting it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.errors import PayloadError
from fedkrso_core.header import HEADER_LIMIT, TensorInfo, read_header
from fedkrso_core.payload import Payload, decode, encode


def tensor(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def body(path: Path, header: bytes | dict[str, Any], data: int = 4) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(data))
    return path


def test_a_header_tells_names_shapes_and_scalars(tmp_path: Path) -> None:
    path = tmp_path / "payload"
    payload = Payload({"w": torch.zeros(2, 3), "h": torch.zeros(5).bfloat16()}, {"n": 4})
    path.write_bytes(encode(payload))
    header = read_header(path)
    assert header.scalars == {"n": 4}
    assert header.tensors["w"] == TensorInfo("F32", (2, 3), 0, 24)
    assert header.tensors["h"] == TensorInfo("BF16", (5,), 24, 34)
    assert header.data_start + 34 == path.stat().st_size


def test_neither_header_nor_expectation_nor_spec_need_torch() -> None:
    code = (
        "import sys, fedkrso_core.expect, fedkrso_core.header, fedkrso_core.spec;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("size", range(8))
def test_a_body_too_short_for_a_length_is_truncated(tmp_path: Path, size: int) -> None:
    (tmp_path / "short").write_bytes(bytes(size))
    with pytest.raises(PayloadError, match=f"truncated: {size} bytes, a header needs at least 8"):
        read_header(tmp_path / "short")


@pytest.mark.parametrize("declared", [5, HEADER_LIMIT + 1, 2**63, 2**64 - 1])
def test_a_huge_declared_header_is_refused_unread(tmp_path: Path, declared: int) -> None:
    (tmp_path / "huge").write_bytes(declared.to_bytes(8, "little") + b"{}  ")
    with pytest.raises(PayloadError, match=f"header of {declared} bytes; allowed: at most 4 in"):
        read_header(tmp_path / "huge")


def test_a_header_above_the_limit_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:  # sparse: takes no space on the disk
        file.write((HEADER_LIMIT + 1).to_bytes(8, "little"))
        file.truncate(2 * HEADER_LIMIT)
    with pytest.raises(PayloadError, match=f"at most {HEADER_LIMIT} in"):
        read_header(tmp_path / "sparse")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "header is not JSON"),
        (b"{", "header is not JSON"),
        (b"[" * 100_000, "header is not JSON"),
        (b"\xff\xfe", "header is not JSON"),
        (b"[]", "header is not a JSON object"),
        ({"__metadata__": None}, "metadata does not hold JSON scalars"),
        ({"__metadata__": {"scalars": "{"}}, "metadata does not hold JSON scalars"),
        ({"__metadata__": {"scalars": "[1]"}}, "scalars are not a JSON object"),
        ({"x": "nothing"}, "tensor 'x' has a malformed header"),
        ({"x": {"dtype": "F32"}}, "tensor 'x' has a malformed header"),
        ({"x": tensor(offsets=[0])}, "tensor 'x' has a malformed header"),
        ({"x": tensor(shape=[float("inf")])}, "Infinity is not a JSON number"),
        ({"x": tensor("C64")}, "tensor 'x' has dtype 'C64'; allowed: F64, F32"),
        ({"x": tensor(["F32"])}, "tensor 'x' has "),
        ({"x": tensor(shape=[-1])}, r"tensor 'x' of shape \(-1,\) does not fit its bytes 0-4"),
        ({"x": tensor(shape=[2])}, r"tensor 'x' of shape \(2,\) does not fit its bytes 0-4"),
        ({"x": tensor(offsets=[4, 8])}, "tensor 'x' .* does not fit its bytes 4-8"),
        ({"x": tensor(offsets=[-4, 0])}, "tensor 'x' .* does not fit its bytes -4-0"),
        ({"x": tensor("F16", [1], [0, 2])}, "payload has 4 bytes of tensors, the header names 2"),
        (b'{"x":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', "1e999 is not|malformed"),
        ({"__metadata__": {"scalars": '{"loss": NaN}'}}, "NaN is not a JSON number"),
        ({"__metadata__": {"scalars": '{"loss": -Infinity}'}}, "-Infinity is not a JSON number"),
        ({"__metadata__": {"scalars": '{"loss": 1e999}'}}, "metadata does not hold JSON scalars"),
    ],
)
def test_a_malformed_header_is_refused_by_name(tmp_path: Path, header: Any, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        read_header(body(tmp_path / "bad", header))


UNREADABLE = {
    "overlapping tensors": ({"x": tensor(), "y": tensor()}, 8),
    "an overflowing empty tensor": ({"x": tensor(shape=[0, 10**30], offsets=[0, 0])}, 0),
    "a float in a shape": ({"x": tensor(shape=[1.0])}, 4),
    "a text in a shape": ({"x": tensor(shape=["1"])}, 4),
    "a boolean in a shape": ({"x": tensor(shape=[True])}, 4),
    "a text for a shape": ({"x": tensor(shape="1")}, 4),
    "an object for a shape": ({"x": tensor(shape={"1": 1})}, 4),
    "a number in the metadata": ({"__metadata__": {"other": 1}, "x": tensor()}, 4),
    "half a character": (b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    "utf-16": (json.dumps({"x": tensor()}).encode("utf-16"), 4),
    "a byte order mark": (b"\xef\xbb\xbf" + json.dumps({"x": tensor()}).encode(), 4),
}


@pytest.mark.parametrize(("header", "data"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_decode_would_refuse_is_refused_at_the_door(
    tmp_path: Path, header: Any, data: int
) -> None:
    """Else an upload that was accepted would break the aggregation of everybody's round."""
    path = body(tmp_path / "bad", header, data)
    with pytest.raises(PayloadError):
        decode(path.read_bytes())
    with pytest.raises(PayloadError):
        read_header(path)
