"""Field descriptions from a JSON schema: what a form must ask for, in the schema's order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.form_field import MAX_INTEGER, Field, Kind, apart

Json = Mapping[str, Any]
_KINDS: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
}
_WORDS = {"string", "integer", "number"}


def fields(schema: Json, chosen: Mapping[str, Any] | None = None, prefix: str = "") -> list[Field]:
    """The inputs of a schema, in its order, paths beginning with `prefix`.

    `chosen` maps the path of a tag ("partition.kind") to the variant whose fields are wanted.
    """
    reader = _Reader(schema.get("$defs", {}), chosen or {})
    return list(reader.properties(schema, _Place(prefix, prefix, {})))


@dataclass(frozen=True)
class _Place:
    """Where the reader is: path, key, and the default that the parent gives."""

    path: str
    key: str
    default: Any

    def child(self, name: str, node: Json) -> _Place:
        inherited = self.default.get(name) if isinstance(self.default, Mapping) else None
        default = node.get("default") if inherited is None else inherited
        path = f"{self.path}.{name}" if self.path else name
        return _Place(path, f"{self.key}.{name}" if self.key else name, default)


@dataclass(frozen=True)
class _Reader:
    defs: Json
    chosen: Mapping[str, Any]

    def properties(self, node: Json, place: _Place) -> Iterator[Field]:
        for name, raw in node.get("properties", {}).items():
            child = self._resolve(raw)
            yield from self._fields(child, place.child(name, child))

    def _fields(self, node: Json, place: _Place) -> Iterator[Field]:
        inner, optional = self._without_null(node)
        if "discriminator" in inner:
            yield from self._variants(inner, place)
        elif "properties" in inner and not optional:
            yield from self.properties(inner, place)
        elif "const" not in inner:
            yield _field(inner, place, optional, node.get("description", ""))

    def _variants(self, node: Json, place: _Place) -> Iterator[Field]:
        tag = node["discriminator"]["propertyName"]
        mapping = node["discriminator"]["mapping"]
        kinds = tuple(mapping)
        at = place.child(tag, {"default": kinds[0]})
        described = {kind: self._resolve({"$ref": ref}) for kind, ref in mapping.items()}
        help_text = " ".join(f"{kind}: {_first(node)}" for kind, node in described.items())
        yield Field(at.path, at.key, "choice", at.default, help_text, options=kinds)
        kind = self.chosen.get(at.path, at.default)
        default = place.default if kind == at.default else None
        inside = self.properties(described.get(kind, {}), _Place(place.path, place.key, default))
        yield from apart(inside, str(kind))

    def _resolve(self, node: Json) -> Json:
        ref = node.get("$ref") or next(
            (part["$ref"] for part in node.get("allOf", []) if "$ref" in part), None
        )
        if ref is None:
            return node
        return {**self.defs.get(ref.rpartition("/")[2], {}), **node, "$ref": None}

    def _without_null(self, node: Json) -> tuple[Json, bool]:
        options = [self._resolve(option) for option in node.get("anyOf", [])]
        rest = [option for option in options if option.get("type") != "null"]
        # of several forms, the one with fields says most: the others are short for it
        if whole := [option for option in rest if "properties" in option]:
            return whole[0], len(rest) < len(options)
        if len(rest) == 1:
            return rest[0], len(rest) < len(options)
        return node, len(rest) < len(options)


def _first(node: Json) -> str:
    return str(node.get("description", "")).partition("\n")[0]


def _field(node: Json, place: _Place, optional: bool, description: str) -> Field:
    kind = _kind(node, place.default, optional)
    listed = node.get("items", {}) if kind == "choices" else node
    options = (True, False) if node.get("type") == "boolean" else listed.get("enum", ())
    return Field(
        place.path,
        place.key,
        kind,
        place.default,
        description or node.get("description", ""),
        _bound(node, "minimum"),
        _bound(node, "exclusiveMinimum"),
        _bound(node, "maximum"),
        _bound(node, "exclusiveMaximum"),
        tuple(options),
        optional,
        tuple(listed.get("enumDescriptions", ())),
    )


def _kind(node: Json, default: Any, optional: bool) -> Kind:
    kind = _kind_of_value(node)
    if optional and kind == "boolean":
        return "choice"
    # a number input with a default cannot be emptied, so null could not be chosen
    if optional and default is not None and kind in ("integer", "number"):
        return "json"
    return kind


def _kind_of_value(node: Json) -> Kind:
    if "enum" in node:
        return "choice"
    if "enum" in node.get("items", {}):
        return "choices"
    types = {option.get("type") for option in node.get("anyOf", ())}
    if types and types <= _WORDS:
        return "word"
    return _KINDS.get(str(node.get("type")), "json")


def _bound(node: Json, name: str) -> float | None:
    bound: float | None = node.get(name)
    return None if bound is None or abs(bound) > MAX_INTEGER else bound
