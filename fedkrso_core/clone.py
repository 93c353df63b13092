"""A job file with some fields changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# sections whose other fields are those of what this one names
_TAGS = {"method": "name", "partition": "kind"}


def changed(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The plain data of a job file with the fields of `changes` in place of its own.

    Of a section only the given fields change; with another method or partition the options of the
    old one go. Whether the result is a job is not checked.
    """
    new = {field: _merged(field, spec.get(field), value) for field, value in changes.items()}
    return {**spec, **new}


def _merged(field: str, old: Any, new: Any) -> Any:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    tag = _TAGS.get(field)
    if tag is not None and new.get(tag, old.get(tag)) != old.get(tag):
        return dict(new)
    return {**old, **new}
