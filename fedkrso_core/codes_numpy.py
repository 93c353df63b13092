"""Codes and scales of a tensor on its way, looked through without torch (see `wire_spec`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedkrso_core.errors import PayloadError
from fedkrso_core.wire_spec import WireDtype, scales_of

_LARGEST_SCALE = np.finfo(np.float32).max / 128  # the largest code times it is a number too


def squares_of(name: str, data: bytes, wire: WireDtype, shape: tuple[int, ...]) -> float:
    """The sum of the squares of the numbers that int8 or int4 stand for.

    PayloadError for scales that are negative, NaN or infinite: whatever the codes are then, the
    numbers are finite.
    """
    scales = np.frombuffer(data, "<f4", scales_of(shape))
    if not ((scales >= 0) & (scales < _LARGEST_SCALE)).all():
        raise PayloadError(
            f"tensor {name!r} holds scales that are negative, NaN or infinite", "not-finite"
        )
    codes = _codes(np.frombuffer(data, "u1", offset=scales.nbytes), wire, math.prod(shape))
    if len(shape) == 2:
        codes = codes.reshape(shape) if shape[0] < shape[1] else codes.reshape(shape).T
    of_each = [float(np.square(row, dtype="f8").sum()) for row in codes.reshape(len(scales), -1)]
    return float((np.square(scales, dtype="f8") * of_each).sum())


def _codes(held: NDArray[np.uint8], wire: WireDtype, count: int) -> NDArray[np.int8]:
    if wire == "int8":
        return held.view("i1")
    halves = np.stack([held & 0xF, held >> 4], axis=1).reshape(-1)
    return halves[:count].astype("i1") - 8
