"""Field descriptions from a JSON schema: what a form must ask for, in the schema's order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Json = Mapping[str, Any]
Kind = Literal["text", "integer", "number", "boolean", "choice", "suggest", "list", "json"]

# what a browser holds exactly; larger bounds are left to the server
MAX_INTEGER = 2**53 - 1
_KINDS: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
}
# where the name of a field alone says too little
_LABELS = {
    "clients.count": "Clients",
    "clients.per_round": "Clients in a round",
    "data.label": "Label column",
    "data.max_rows": "Most rows",
    "data.text": "Text column",
    "data.text_pair": "Second text column",
    "data.train": "Training data",
    "data.validation": "Validation data",
    "evaluate.batch_size": "Evaluation batch size",
    "evaluate.every": "Rounds between evaluations",
    "local.head_lr": "Learning rate of the classifier",
    "local.lr": "Learning rate",
    "local.max_length": "Tokens of a text",
    "local.schedule": "Learning rate schedule",
    "method.name": "Method",
    "partition.kind": "Division of the rows",
}


@dataclass(frozen=True)
class Field:
    """One input of a form. `path` is where its value goes and how the server names it."""

    path: str
    key: str
    kind: Kind
    default: Any = None
    description: str = ""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    options: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def label(self) -> str:
        """What the input is called on the page."""
        name = self.path.rpartition(".")[2].replace("_", " ")
        return _LABELS.get(self.path, name[:1].upper() + name[1:])

    @property
    def allowed(self) -> str:
        """The bounds in words: 'at least 1, at most 100'; empty without bounds."""
        bounds = {
            "at least": self.minimum,
            "more than": self.above,
            "at most": self.maximum,
            "less than": self.below,
        }
        return ", ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


def fields(schema: Json, chosen: Mapping[str, Any] | None = None, prefix: str = "") -> list[Field]:
    """The inputs of a schema, in its order, paths beginning with `prefix`.

    `chosen` maps the path of a tag ("partition.kind") to the variant whose fields are wanted.
    """
    reader = _Reader(schema.get("$defs", {}), chosen or {})
    return list(reader.properties(schema, _Place(prefix, prefix, {})))


def complaints(field: Field, value: object) -> list[str]:
    """What is wrong with a number before the server is asked: outside of the bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return []
    inside = (
        (field.minimum is None or value >= field.minimum)
        and (field.above is None or value > field.above)
        and (field.maximum is None or value <= field.maximum)
        and (field.below is None or value < field.below)
    )
    return [] if inside else [f"{value:g}: allowed is {field.allowed}"]


def apart(found: Iterable[Field], variant: str) -> list[Field]:
    """The inputs of one variant, under keys of their own.

    Two variants may have a field of the same name with another default.
    """
    return [replace(field, key=f"{field.key}-{variant}") for field in found]


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
        if len(rest) == 1:
            return rest[0], len(rest) < len(options)
        return node, len(rest) < len(options)


def _first(node: Json) -> str:
    return str(node.get("description", "")).partition("\n")[0]


def _field(node: Json, place: _Place, optional: bool, description: str) -> Field:
    kind = _kind(node, place.default, optional)
    options = (True, False) if node.get("type") == "boolean" else node.get("enum", ())
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
    )


def _kind(node: Json, default: Any, optional: bool) -> Kind:
    kind: Kind = "choice" if "enum" in node else _KINDS.get(str(node.get("type")), "json")
    if optional and kind == "boolean":
        return "choice"
    # a number input with a default cannot be emptied, so null could not be chosen
    if optional and default is not None and kind in ("integer", "number"):
        return "json"
    return kind


def _bound(node: Json, name: str) -> float | None:
    bound: float | None = node.get(name)
    return None if bound is None or abs(bound) > MAX_INTEGER else bound
