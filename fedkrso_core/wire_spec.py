"""WireSpec: what a job does to updates on their way, and the form that gives them. Torch-free.

A float32 tensor of n numbers travels as

    fp32    itself                                                          4 n bytes
    bf16    rounded to bfloat16                                             2 n bytes
    int8    s scales, float32, then n codes q in -127..127, a byte each     4 s + n bytes
    int4    s scales, float32, then n codes q in -7..7, two to a byte       4 s + ceil(n / 2) bytes

and x is about q * scale. A matrix (m, k) has s = min(m, k) scales, one for each index of its
shorter side, max |x| / 127 (or / 7) along the longer one: for an accumulator (d_out, r) that is r
scales, next to nothing. Any other tensor has one. Scales and codes are one tensor of bytes (U8)
under the tensor's name: the header of an encoding is as long as without, but for a few characters.
Tensors of other types, and empty ones, travel as they are.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from fedkrso_core.strict import Strict

WireDtype = Literal["fp32", "bf16", "int8", "int4"]
LARGEST = {"int8": 127, "int4": 7}
Form = tuple[str, tuple[int, ...]]  # dtype and shape, as `Expected` writes them


class WireSpec(Strict):
    """How many bits numbers have on their way, and whether an update's bytes are packed."""

    dtype: WireDtype = Field(
        "fp32", description="What a number of an update travels as: 32, 16, 8 or 4 bits"
    )
    error_feedback: bool = Field(
        True,
        description="What rounding left out is added to the client's next update, or evens out on "
        "average; no: every number is rounded to the nearest",
    )
    compression: Literal["none", "zstd"] = Field("none", description="Of the whole update")
    download: WireDtype = Field(
        "fp32",
        description="What a number that a round adds to the model travels as to the clients: "
        "rounded once, for all; only of methods whose states add up",
    )

    @property
    def rounds(self) -> bool:
        """Whether numbers lose bits."""
        return self.dtype != "fp32"


def scales_of(shape: tuple[int, ...]) -> int:
    """How many scales a tensor has."""
    return min(shape) if len(shape) == 2 else 1


def form_of(wire: WireDtype, dtype: str, shape: tuple[int, ...]) -> Form:
    """What a tensor travels as."""
    count = math.prod(shape)
    if wire == "fp32" or dtype != "F32" or not count:
        return dtype, tuple(shape)
    if wire == "bf16":
        return "BF16", tuple(shape)
    return "U8", (4 * scales_of(shape) + (count if wire == "int8" else -(-count // 2)),)
