"""The name under which the lines of a worker and of the API about the same work are found."""

from __future__ import annotations

import re
import secrets

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")


def new() -> str:
    """A request id that nobody else has."""
    return secrets.token_hex(8)


def accepted(given: str | None) -> str:
    """The id that a caller gave if it is short and plain, else a new one."""
    return given if given is not None and _SANE.fullmatch(given) else new()
