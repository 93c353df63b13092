"""One input of a form, with what the server said about it under it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.form_field import MAX_INTEGER, Field
from dashboard.words import plain


def key_of(field: Field) -> str:
    """The key of a field's widget: its CSS class is st-key- and this with dots as dashes."""
    return f"field-{field.key}"


def draw(field: Field) -> Any:
    """Draws the input and returns what it holds.

    Bounds are not given to the browser: it would mark a value outside in red, and go on with the
    last one inside. `form_field.complaints` and the server say what is wrong with the value.
    """
    match field.kind:
        case "boolean":
            return st.checkbox(field.label, bool(field.default), **_common(field))
        case "choice":
            return st.selectbox(field.label, field.options, _index(field), **_common(field))
        case "choices":
            return st.multiselect(field.label, field.options, field.default, **_common(field))
        case "suggest":
            return _suggestions(field)
        case "integer":
            return _integer(field)
        case "number":
            return _number(field)
        case _:
            return st.text_input(field.label, _text(field), **_common(field))


def draw_message(field: Field, messages: Sequence[str]) -> None:
    """What is wrong with the value, in red under the input."""
    if messages:
        with st.container(key=f"problem-{field.key}"):
            st.markdown(f":red[{plain('; '.join(messages))}]")


def _common(field: Field) -> dict[str, Any]:
    return {"key": key_of(field), "help": _help(field) or None}


def _help(field: Field) -> str:
    parts = [
        f"{field.description}." if field.description else "",
        f"Allowed: {field.allowed}." if field.allowed else "",
        "May be empty." if field.optional else "",
        "Values separated by commas." if field.kind == "list" else "",
        "A word, or JSON." if field.kind == "json" else "",
    ]
    text = plain(" ".join(part for part in parts if part).replace("..", "."))
    details = zip(field.options, field.details, strict=False)
    lines = [f"- **{plain(option)}** {plain(does)}" for option, does in details]
    return "\n".join([text, "", *lines]) if lines else text


def _suggestions(field: Field) -> Any:
    known = [str(field.default)] if field.default else []
    options = list(dict.fromkeys([*field.options, *known]))
    index = options.index(known[0]) if known else None
    return st.selectbox(field.label, options, index, accept_new_options=True, **_common(field))


def _integer(field: Field) -> int | None:
    default = None if field.default is None else int(field.default)
    value: int | None = st.number_input(
        field.label, -MAX_INTEGER, MAX_INTEGER, default, 1, **_common(field)
    )
    return value


def _number(field: Field) -> float | None:
    default = None if field.default is None else float(field.default)
    value: float | None = st.number_input(
        field.label, value=default, step=_step(default), format="%g", **_common(field)
    )
    return value


def _step(value: float | None) -> float:
    """A tenth of the value's order of magnitude: 0.0001 for 0.001."""
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.01


def _index(field: Field) -> int | None:
    return field.options.index(field.default) if field.default in field.options else None


def _text(field: Field) -> str:
    default = field.default
    if default is None:
        return ""
    if isinstance(default, list):
        return ", ".join(map(str, default))
    return default if isinstance(default, str) else json.dumps(default)
