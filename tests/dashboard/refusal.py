"""What the fake server refuses."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class Refusal(Exception):
    """A request that this server answers with a problem document."""

    def __init__(self, status: int, detail: str, errors: list[Json] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {
            "type": "urn:fedkrso:problem:test",
            "title": detail,
            "status": status,
            "detail": detail,
            "errors": errors or [],
        }
