"""The header of an encoded payload, read without torch and without trusting a byte of it.

An encoding is one safetensors file: 8 bytes (little-endian) length of the header, the header as
JSON, then the tensors' bytes. The payload's scalars are JSON in the header's metadata under the
key "scalars".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkrso_core.errors import PayloadError

HEADER_LIMIT = 32 * 1024 * 1024
_LARGEST = 2**40  # of a size or an offset: far beyond any real one
_MOST_NUMBERS = 64  # in a shape, as in torch; the product of a million sizes would take hours
DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
}


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: its bytes are [start, end) counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """Names, dtypes and shapes of an encoded payload, and its scalars."""

    tensors: Mapping[str, TensorInfo]
    scalars: Mapping[str, Any]
    data_start: int


def read_header(path: Path, limit: int = HEADER_LIMIT) -> Header:
    """The header of an encoded payload in a file; PayloadError if it is anything else.

    JSON takes up to 25 times its length as Python objects: `limit` bytes bound the memory.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = header_length(head, size, limit)
        return parse_header(file.read(length), size)


def header_length(head: bytes, size: int, limit: int = HEADER_LIMIT) -> int:
    """Length of the JSON header that the first 8 bytes declare, checked against the size."""
    if len(head) < 8:
        raise PayloadError(f"payload is truncated: {size} bytes, a header needs at least 8")
    length = int.from_bytes(head, "little")
    if length > min(limit, size - 8):
        raise PayloadError(
            f"payload declares a header of {length} bytes; allowed: at most "
            f"{min(limit, size - 8)} in a body of {size}"
        )
    return length


def parse_header(raw: bytes, size: int) -> Header:
    """The header of an encoding of `size` bytes whose JSON header is `raw`."""
    try:
        fields = _strict_json(raw.decode())  # of bytes, json would guess utf-16 and skip a mark
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"payload header is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise PayloadError("payload header is not a JSON object")
    scalars = _scalars(fields.pop("__metadata__", {}))
    data_bytes = size - 8 - len(raw)
    tensors = {name: _tensor(name, info, data_bytes) for name, info in fields.items()}
    _check_layout(tensors, data_bytes)
    return Header(tensors, scalars, 8 + len(raw))


def _strict_json(text: str) -> Any:
    """JSON without NaN and infinities, which Python reads by default and nobody else does."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a JSON number")
    return value


def _check_layout(tensors: Mapping[str, TensorInfo], data_bytes: int) -> None:
    """Tensors lie one after the other, without a gap or an overlap, to the very end."""
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != at:
            raise PayloadError(f"tensor {name!r} starts at byte {tensor.start}, expected {at}")
        at = tensor.end
    if at != data_bytes:
        raise PayloadError(f"payload has {data_bytes} bytes of tensors, the header names {at}")


def _scalars(metadata: Any) -> dict[str, Any]:
    try:
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError("values must be strings")
        scalars = _strict_json(metadata.get("scalars", "{}"))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"payload metadata does not hold JSON scalars: {error}") from None
    if not isinstance(scalars, dict):
        raise PayloadError("payload scalars are not a JSON object")
    return scalars


def _tensor(name: str, info: Any, data_bytes: int) -> TensorInfo:
    try:
        name.encode()  # half of a surrogate pair is a name that nobody can write
        dtype, shape = info["dtype"], _whole_numbers(info["shape"])
        start, end = _whole_numbers(info["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise PayloadError(f"tensor {name!r} has a malformed header") from None
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        allowed = ", ".join(DTYPE_BYTES)
        raise PayloadError(f"tensor {name!r} has dtype {dtype!r}; allowed: {allowed}")
    expected = math.prod(shape) * DTYPE_BYTES[dtype]
    if min(shape, default=0) < 0 or not 0 <= start <= end <= data_bytes or end - start != expected:
        raise PayloadError(f"tensor {name!r} of shape {shape} does not fit its bytes {start}-{end}")
    return TensorInfo(dtype, shape, start, end)


def _whole_numbers(values: Any) -> tuple[int, ...]:
    """A list of integers as a tuple: as strict as safetensors' own reader."""
    if not isinstance(values, list):
        raise TypeError
    if len(values) > _MOST_NUMBERS:
        raise ValueError
    if any(type(n) is not int or abs(n) > _LARGEST for n in values):
        raise ValueError
    return tuple(values)
