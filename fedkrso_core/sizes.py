"""Sizes in bytes as people write them: 50MB, 6 GB, 512MiB or a plain number of bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_BY_LOWER = {unit.lower(): factor for unit, factor in _UNITS.items()}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(value: Any) -> Any:
    """Bytes of "50MB" (10^6), "50MiB" (2^20) or a number; ValueError for other text."""
    if not isinstance(value, str):
        return value
    match = _FORM.fullmatch(value)
    factor = _BY_LOWER.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{value!r} is no size; allowed: bytes, or a number with KB, MB, GB, "
                         "TB, KiB, MiB, GiB or TiB")  # fmt: skip
    return round(float(match[1]) * factor)


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(ge=1)]


def rounded_up(count: int) -> str:
    """Bytes in words with one decimal, never less than they are: 63.3 MB for 63 249 000."""
    return _in_words(count, up=True)


def rounded_down(count: int) -> str:
    """Bytes in words with one decimal, never more than they are: 63.2 MB for 63 249 000."""
    return _in_words(count, up=False)


def _in_words(count: int, up: bool) -> str:
    if count < 1000:
        return f"{count} B"
    power, tenths = 1, _tenths(count, 1, up)
    while tenths >= 10_000 and power < 4:  # 999 950 rounded up is 1.0 MB, not 1000.0 kB
        power += 1
        tenths = _tenths(count, power, up)
    return f"{tenths // 10}.{tenths % 10} {'kMGT'[power - 1]}B"


def _tenths(count: int, power: int, up: bool) -> int:
    """Tenths of 1000^power in a count, in whole numbers: a float would round on its own."""
    unit: int = 1000**power
    tenths, rest = divmod(count * 10, unit)
    return tenths + (up and rest > 0)
