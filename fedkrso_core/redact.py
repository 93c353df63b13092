"""Keeps secrets out of what is written: keys, tokens, passwords in addresses."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

_IGNORE = re.IGNORECASE
_RULES = (
    # an API key: its id may be seen, its secret may not
    (re.compile(r"\bfk_([0-9a-f]{16})_[A-Za-z0-9_-]+"), r"fk_\1_***"),
    (re.compile(r"\bfk_(?![0-9a-f]{16}_\*)[A-Za-z0-9_-]{32,}"), "fk_***"),
    # postgresql://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s@/]+@", _IGNORE), r"\1:***@"),
    (re.compile(r"(\b(?:Bearer|X-Lease-Token:?)\s+)[A-Za-z0-9._~+/=-]{8,}", _IGNORE), r"\1***"),
    (re.compile(r"((?:password|passwd|secret_key|access_key)=)[^\s&;,'\"]+", _IGNORE), r"\1***"),
)


def redact(text: str) -> str:
    """The text with `***` in place of every secret that is recognised by its form."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def install() -> None:
    """Makes every log record of this process pass through `redact`, tracebacks included."""
    before = logging.getLogRecordFactory()
    if getattr(before, "redacts", False):
        return

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.msg, record.args = _clean(record.msg), _clean_args(record.args)
        if record.exc_info and record.exc_info[0] is not None:
            # formatters use this text instead of making their own
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return record

    make.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make)


def _clean_args(args: Any) -> Any:
    if isinstance(args, tuple):
        return tuple(_clean(arg) for arg in args)
    if isinstance(args, dict):
        return {name: _clean(arg) for name, arg in args.items()}
    return args


def _clean(value: Any) -> Any:
    """The value itself where its text holds no secret: a formatter may want its type."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    clean = redact(text)
    return value if clean == text else clean
