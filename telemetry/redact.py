"""Takes secrets out of what is about to be logged or told, wherever they stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

GONE = "***"
_SHORTEST = 6  # a shorter "secret" would blacken ordinary words

_SECRET_NAME = re.compile(
    r"authorization|cookie|token|secret|passw(or)?d|api_?key|worker_?key|metrics_?key|credential",
    re.IGNORECASE,
)
# (pattern, what stays of it): what is a secret by its form, whatever the text is about
_FORMS = (
    # an API key, or the token of an invitation: its id may be seen, its secret may not
    (re.compile(r"\b(f[ki])_([0-9a-f]{16})_[\w-]+"), rf"\1_\2_{GONE}"),
    (re.compile(r"\bfk_(?![0-9a-f]{16}_\*)[\w-]{32,}"), f"fk_{GONE}"),
    # scheme://user:password@host, also without a user
    (re.compile(r"(\b[\w+.-]+://[^\s/:@]*:)[^\s@]+@"), rf"\1{GONE}@"),
    (re.compile(r"(\b(?:Bearer|X-Lease-Token:?)\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{GONE}"),
    (
        re.compile(
            r"((?:password|passwd|secret_key|access_key)=)(?!\*\*\*)[^\s&;,'\"]+", re.IGNORECASE
        ),
        rf"\1{GONE}",
    ),
)
# in a log line also what stands behind a telling name; in words to a user that would hide too much
_PATTERNS = (
    (re.compile(r"\b(bearer|basic)\s+(?!\*\*\*)[\w.~+/=-]+", re.IGNORECASE), rf"\1 {GONE}"),
    (re.compile(r"\bfk_(?![0-9a-f]{16}_\*|\*)[\w-]{8,}"), GONE),
    # name=value, "name": "value", (b"name", b"value")
    (
        re.compile(
            r"(\b[\w-]*(?:lease[_-]?token|api[_-]?key|worker[_-]?key|metrics[_-]?key|password|passwd|"
            r"secret|access[_-]?key|x-amz-(?:signature|credential|security-token))[\w-]*"
            r"b?[\"']?\s*[:=,]\s*b?[\"']?)(?!\*\*\*)[^\s\"',;&})\]]+",
            re.IGNORECASE,
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"([?&](?:signature|sig|token|key)=)[^&\s\"']+", re.IGNORECASE), rf"\1{GONE}"),
)


def redact(text: str) -> str:
    """The text with `***` in place of every secret that is recognised by its form."""
    for pattern, stays in _FORMS:
        text = pattern.sub(stays, text)
    return text


def passwords(*urls: str) -> list[str]:
    """The passwords that stand in URLs, as they stand there and decoded."""
    found = [word for url in urls if (word := urlsplit(url).password)]
    return found + [unquote(word) for word in found]


class Redactor:
    """Blackens secrets by the look of them, by the names they have, and those it is told of."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        # longest first: one secret may be the beginning of another
        given = sorted({secret for secret in known if len(secret) >= _SHORTEST}, key=len)
        self._known = [*reversed(given)]

    def __call__(self, _logger: Any, _method: str, event: Any) -> Any:
        """As a processor of structlog's."""
        return self.mapping(event)

    def mapping(self, given: Mapping[Any, Any]) -> dict[Any, Any]:
        """The mapping without the secrets in it."""
        return {name: self._named(str(name), value) for name, value in given.items()}

    def text(self, given: str) -> str:
        """The text without the secrets in it."""
        for secret in self._known:
            given = given.replace(secret, GONE)
        given = redact(given)
        for pattern, stays in _PATTERNS:
            given = pattern.sub(stays, given)
        return given

    def _named(self, name: str, value: Any) -> Any:
        if isinstance(value, str | bytes) and value and _SECRET_NAME.search(name):
            return GONE
        return self._value(value)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(value if isinstance(value, str) else str(value))
