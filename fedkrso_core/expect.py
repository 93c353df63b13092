"""What an upload must look like, and the check at the door; free of torch.

A method states it once per round (`Method.expect`); the API holds every upload against it before
the round sees a byte, and the forecast of bytes is computed from it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fedkrso_core.codes_numpy import squares_of
from fedkrso_core.compression import opened
from fedkrso_core.errors import PayloadError
from fedkrso_core.header import DTYPE_BYTES, HEADER_LIMIT, Header, TensorInfo, read_header
from fedkrso_core.wire_spec import Form, WireSpec, form_of

Reference = Mapping[str, NDArray[Any]]

_CHUNK_BYTES = 1024 * 1024
_ROOM_BYTES = 64 * 1024  # for what a header holds beside the expected names: metrics, blanks
_ENTRY_BYTES = 256  # of a name's dtype, shape and offsets, or of a scalar's value
_ESCAPED = 12  # most characters of a header for one of a name: \\uXXXX, in text within text twice


class Group(BaseModel):
    """Tensors that come together, name -> (dtype, shape), and what comes with them.

    `scalars` have an exact value, `numbers` lie within (lowest, highest).
    """

    model_config = ConfigDict(frozen=True)

    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    scalars: dict[str, Any] = {}
    numbers: dict[str, tuple[float, float]] = {}


class Expected(BaseModel):
    """An upload has the required group and any of the optional ones, each whole or not at all.

    Where `places` is not empty, client c has the optional group places[c % len(places)], no other.
    Where no tensor is required, at least one optional group must be there.

    Dtypes and shapes are those that the method's client half gives; `wire` says how they travel.
    """

    model_config = ConfigDict(frozen=True)

    required: Group = Group()
    optional: dict[str, Group] = {}
    places: tuple[str, ...] = ()
    wire: WireSpec = WireSpec()

    def of_client(self, client: int) -> Expected:
        """What this client's upload must look like."""
        if not self.places:
            return self
        own = self.optional[self.places[client % len(self.places)]]
        both = {
            part: {**getattr(self.required, part), **getattr(own, part)}
            for part in Group.model_fields
        }
        return Expected(required=Group(**both), wire=self.wire)

    def largest_bytes(self) -> int:
        """What no honest encoding of an update is longer than."""
        groups = (self.required, *self.optional.values())
        shapes = [shape for group in groups for shape in group.tensors.values()]
        data = sum(_bytes_of(form_of(self.wire.dtype, *shape)) for shape in shapes)
        return 8 + _longest_header(self) + data


def check_upload(
    path: Path,
    expected: Expected,
    num_examples: int | None = None,
    max_norm: float | None = None,
    reference: Reference | None = None,
) -> Header:
    """The header of an upload that is as expected and finite; else PayloadError.

    `num_examples`, where the server knows it, is the weight that the client must claim. `max_norm`
    bounds the L2 norm of all numbers of the update's tensors, less `reference` where it names one:
    what the client would have sent of it without a step. An update that is
    compressed is decompressed beside `path` for a while, up to what it may hold.
    """
    if expected.wire.compression == "zstd":
        with opened(path, expected.largest_bytes()) as plain:
            return _checked(plain, expected, num_examples, max_norm, reference or {})
    return _checked(path, expected, num_examples, max_norm, reference or {})


def _checked(
    path: Path,
    expected: Expected,
    num_examples: int | None,
    max_norm: float | None,
    reference: Reference,
) -> Header:
    header = read_header(path, _longest_header(expected))
    _check_names(header, expected)
    claimed = header.scalars.get("num_examples")
    if type(claimed) is not int or claimed < 1:
        raise PayloadError(f"num_examples is {claimed!r}; allowed: a whole number from 1")
    if num_examples is not None and claimed != num_examples:
        raise PayloadError(f"num_examples is {claimed}; this client has {num_examples} rows")
    _check_metrics(header.scalars.get("metrics"))
    squares = 0.0
    with path.open("rb") as file:
        for name, tensor in header.tensors.items():
            began = reference.get(name)
            squares += _squares(file, header.data_start, name, tensor, expected, began)
    if max_norm is not None and not squares <= max_norm**2:
        norm = f"the update's norm is {squares**0.5:.6g}; this job allows up to {max_norm:g}"
        raise PayloadError(norm, "too-large-norm")
    return header


def _longest_header(expected: Expected) -> int:
    """Bytes that the header of an honest update stays below: nobody makes the server read more."""
    groups = (expected.required, *expected.optional.values())
    names = (name for g in groups for part in (g.tensors, g.scalars, g.numbers) for name in part)
    return min(HEADER_LIMIT, _ROOM_BYTES + sum(_ENTRY_BYTES + _ESCAPED * len(n) for n in names))


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, dict) or not all(map(_is_number, metrics.values())):
        raise PayloadError(f"metrics is {metrics!r}; allowed: an object of numbers")


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number that a float can be: an integer of JSON may have 4,000 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _check_names(header: Header, expected: Expected) -> None:
    groups = [expected.required]
    for group in expected.optional.values():
        if any(name in header.tensors for name in group.tensors):
            groups.append(group)
    allowed = {name: spec for group in groups for name, spec in group.tensors.items()}
    for name, tensor in header.tensors.items():
        if name not in allowed:
            unknown = f"tensor {name!r} is not part of this round's update"
            raise PayloadError(unknown, "wrong-tensors")
        dtype, shape = form_of(expected.wire.dtype, *allowed[name])
        if (tensor.dtype, tensor.shape) != (dtype, tuple(shape)):
            raise PayloadError(
                f"tensor {name!r} is {tensor.dtype} {tensor.shape}; expected {dtype} {shape}",
                "wrong-tensors",
            )
    if not header.tensors and expected.optional and not expected.required.tensors:
        allowed = {**allowed, **next(iter(expected.optional.values())).tensors}
    missing = sorted(set(allowed) - set(header.tensors))
    if missing:
        lacks = f"the update lacks {len(missing)} tensors, the first is {missing[0]!r}"
        raise PayloadError(lacks, "wrong-tensors")
    for group in groups:
        _check_scalars(header, group)
    if expected.wire.rounds:
        _check_scalars(header, Group(scalars={"wire": expected.wire.dtype}))


def _check_scalars(header: Header, group: Group) -> None:
    for name, value in group.scalars.items():
        given = header.scalars.get(name)
        if given != value:
            message = f"scalar {name!r} is {given!r}; expected {value!r}"
            raise PayloadError(message, "wrong-scalars")
    for name, (lowest, highest) in group.numbers.items():
        given = header.scalars.get(name)
        if not _is_number(given) or not lowest <= given <= highest:
            raise PayloadError(
                f"scalar {name!r} is {given!r}; allowed: a number from {lowest:g} to {highest:g}",
                "wrong-scalars",
            )


def _squares(
    file: Any,
    data_start: int,
    name: str,
    tensor: TensorInfo,
    expected: Expected,
    reference: NDArray[Any] | None,
) -> float:
    """The sum of the squares of the numbers that a tensor stands for, if they are all finite.

    Less `reference`, if it has one, in a shape that broadcasts.
    """
    groups = (expected.required, *expected.optional.values())
    dtype, shape = next(group.tensors[name] for group in groups if name in group.tensors)
    if dtype != "F32" or tensor.dtype != "U8":
        if reference is not None:
            reference = np.broadcast_to(reference, tensor.shape).reshape(-1)
        return _check_finite(file, data_start, name, tensor, reference)
    file.seek(data_start + tensor.start)
    data = file.read(tensor.end - tensor.start)
    return squares_of(name, data, expected.wire.dtype, tuple(shape))


def _bytes_of(form: Form) -> int:
    dtype, shape = form
    return DTYPE_BYTES[dtype] * math.prod(shape)


def _check_finite(
    file: Any, data_start: int, name: str, tensor: TensorInfo, reference: NDArray[Any] | None
) -> float:
    """The sum of the squares of a tensor's numbers, less `reference`, if they are all finite."""
    dtype = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}.get(tensor.dtype)
    if dtype is None:
        return 0.0
    file.seek(data_start + tensor.start)
    left, squares, done = tensor.end - tensor.start, 0.0, 0
    while left:
        chunk = file.read(min(left, _CHUNK_BYTES))
        left -= len(chunk)
        values = np.frombuffer(chunk, dtype)
        if tensor.dtype == "BF16":  # numpy has no bfloat16: widen the bits to float32
            values = (values.astype("<u4") << 16).view("<f4")
        if not np.isfinite(values).all():
            raise PayloadError(f"tensor {name!r} holds NaN or infinite values", "not-finite")
        with np.errstate(over="ignore"):  # then infinite, which is above any bound
            if reference is not None:
                first, done = done, done + len(values)
                values = values.astype("f8") - reference[first:done]
            squares += float(np.square(values, dtype="f8").sum())
    return squares
