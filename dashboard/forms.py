"""The form of a job: its inputs by section, and the nested job from their values. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dashboard.form_field import Field, apart
from dashboard.form_schema import Json, fields

MORE = "More options"

# a path stands for everything under it; what no section names is under MORE
SECTIONS: dict[str, tuple[str, ...]] = {
    "Job": ("name", "model", "task", "rounds.count"),
    "Data": ("data.train", "partition"),
    "Clients": ("clients.count", "clients.per_round", "rounds.mode"),
    "Local training": (
        "local.steps",
        "local.batch_size",
        "local.max_length",
        "local.lr",
        "local.optimizer",
        "local.precision",
        "local.memory",
    ),
    "Method": ("method",),
    "Budget": ("budget",),
}
_TYPED = ("text", "suggest", "list", "word", "json")


def job_fields(schema: Json, methods: Sequence[Json], chosen: Mapping[str, Any]) -> list[Field]:
    """The inputs of a job: its schema's, and those of the chosen method's own config."""
    names = tuple(method["name"] for method in methods)
    found: list[Field] = []
    for field in fields(schema, chosen):
        if field.path != "method.name":
            found.append(field)
            continue
        found.append(replace(field, kind="choice", options=names))
        name = chosen.get("method.name", field.default)
        found += apart(_options(methods, name, chosen), str(name))
    return found


def suggest(found: Sequence[Field], options: Mapping[str, list[str]]) -> list[Field]:
    """The same inputs; those at the paths of `options` propose values, others may be typed."""
    return [
        replace(field, kind="suggest", options=tuple(options[field.path]))
        if field.path in options
        else field
        for field in found
    ]


def nest(found: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """The job of the values of its inputs; an empty optional input is left out."""
    job: dict[str, Any] = {}
    for field in found:
        value = _value(field, values.get(field.path))
        if value is None and field.optional and field.default is None:
            continue
        *parents, name = field.path.split(".")
        place = job
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return job


def section_of(path: str) -> str:
    """The section of an input."""
    for section, prefixes in SECTIONS.items():
        if any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes):
            return section
    return MORE


def by_section(found: Sequence[Field]) -> dict[str, list[Field]]:
    """The inputs of each section, in the order of the sections, MORE last."""
    sections: dict[str, list[Field]] = {name: [] for name in (*SECTIONS, MORE)}
    for field in found:
        sections[section_of(field.path)].append(field)
    return {name: inputs for name, inputs in sections.items() if inputs}


def _options(methods: Sequence[Json], name: object, chosen: Mapping[str, Any]) -> list[Field]:
    config = next((method["config"] for method in methods if method["name"] == name), None)
    return [] if config is None else fields(config, chosen, "method")


def _value(field: Field, raw: Any) -> Any:
    if field.kind not in _TYPED or not isinstance(raw, str):
        return raw
    text = raw.strip()
    if not text and field.optional:
        return None
    if field.kind == "list":
        return [_loaded(part.strip()) for part in text.split(",") if part.strip()]
    return _loaded(text) if field.kind in ("word", "json") else text


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
