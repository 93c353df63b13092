"""Lengths of encoded payloads from their shapes alone: what `payload.encode` would give, exactly.

An encoding is 8 bytes, a JSON header padded with spaces to a multiple of 8, and the tensors' bytes,
wide types first and names in order (safetensors 0.8, see `header`). An entry of the header is

    "name":{"dtype":"F32","shape":[4,384],"data_offsets":[start,end]}

so its length depends on the payload only through the digits of start and end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedkrso_core.header import DTYPE_BYTES

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]

# safetensors writes the types in this order
_ORDER = ("I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8")
_POWERS = 10 ** np.arange(1, 18, dtype=np.int64)


class Encoding:
    """Sizes of payloads that are put together of the same groups of tensors, {group: shapes}.

    Names are unique over all groups. The work for a size is a few passes over small arrays, so
    that thousands of different uploads can be sized.
    """

    def __init__(self, groups: Mapping[str, Shapes]) -> None:
        rows = [
            (_ORDER.index(dtype), name.encode(), group, dtype, shape)
            for group, shapes in groups.items()
            for name, (dtype, shape) in shapes.items()
        ]
        rows.sort(key=lambda row: row[:2])
        self._numbers = {group: number for number, group in enumerate(groups)}
        self._group = np.array([self._numbers[row[2]] for row in rows], dtype=np.int64)
        self._bytes = np.array([data_bytes(row[3], row[4]) for row in rows], dtype=np.int64)
        self._fixed = np.array(
            [_entry_length(row[1].decode(), row[3], row[4]) for row in rows], dtype=np.int64
        )

    def tensor_bytes(self, groups: Collection[str]) -> int:
        """Bytes of the tensors of these groups, without a header."""
        return int(self._bytes[self._chosen(groups)].sum())

    def size(self, groups: Collection[str], scalars: Mapping[str, Any]) -> int:
        """Length of the encoding of these groups' tensors and the scalars."""
        chosen = self._chosen(groups)
        ends = self._bytes[chosen].cumsum()
        starts = ends - self._bytes[chosen]
        header = len('{"__metadata__":{"scalars":}}') + _json_length(_as_json(scalars))
        header += int(self._fixed[chosen].sum()) + _digits(starts) + _digits(ends)
        return 8 + -(-header // 8) * 8 + int(ends[-1] if len(ends) else 0)

    def _chosen(self, groups: Collection[str]) -> NDArray[np.bool_]:
        wanted = np.zeros(len(self._numbers) + 1, dtype=bool)
        wanted[[self._numbers[group] for group in groups]] = True
        return wanted[self._group]


def encoded_bytes(shapes: Shapes, scalars: Mapping[str, Any]) -> int:
    """Length of the encoding of one payload."""
    return Encoding({"": shapes}).size([""], scalars)


def data_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor."""
    return DTYPE_BYTES[dtype] * math.prod(shape)


def _entry_length(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """A header entry and the comma before it, but for the digits of its offsets."""
    sizes = ",".join(map(str, shape))
    return len(f',:{{"dtype":"{dtype}","shape":[{sizes}],"data_offsets":[,]}}') + _json_length(name)


def _json_length(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


def _as_json(scalars: Mapping[str, Any]) -> str:
    return json.dumps(scalars, sort_keys=True)


def _digits(numbers: NDArray[np.int64]) -> int:
    """Decimal digits of all numbers together; 0 has one."""
    return int(np.searchsorted(_POWERS, numbers, side="right").sum()) + len(numbers)
