"""The form of a new job, drawn from the server's schemas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard.components import field_input, row_upload
from dashboard.form_field import Field, complaints
from dashboard.forms import MORE, by_section, job_fields, suggest
from dashboard.refusal import Refusal

Json = dict[str, Any]
PER_ROW = 3
WIDE = "choices"
KEY = "field-"


@dataclass(frozen=True)
class Choices:
    """What the server offers: the job's schema, its methods, models, data sets and uploads."""

    schema: Json
    methods: list[Json]
    models: list[str]
    datasets: list[str]
    uploads: list[Json]


def form_fields(choices: Choices) -> list[Field]:
    """The inputs for the method and the division that are chosen now."""
    chosen = {
        str(key).removeprefix(KEY): value
        for key, value in st.session_state.items()
        if str(key).startswith(KEY)
    }
    found = job_fields(choices.schema, choices.methods, chosen)
    rows = [*choices.datasets, *row_upload.sources(choices.uploads)]
    return suggest(found, {"model": choices.models, "data.train": rows})


def draw_form(
    found: Sequence[Field], refusal: Refusal | None, uploads: Sequence[Json]
) -> dict[str, Any]:
    """Draws every input in its section and returns the values by path."""
    values: dict[str, Any] = {}
    for section, inputs in by_section(found).items():
        if section == MORE:
            with st.expander(MORE, expanded=_has_errors(inputs, refusal), key="more-options"):
                values |= _draw_inputs(inputs, refusal, uploads)
            continue
        st.subheader(section, anchor=False)
        values |= _draw_inputs(inputs, refusal, uploads)
    return values


def _draw_inputs(
    inputs: Sequence[Field], refusal: Refusal | None, uploads: Sequence[Json]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for row in _rows(inputs):
        wide = row[0].kind == WIDE
        for column, field in zip(st.columns(1 if wide else PER_ROW), row, strict=False):
            with column:
                values[field.path] = _draw_input(field, refusal)
                if field.path in row_upload.SOURCES:
                    row_upload.draw_upload(field, values[field.path], uploads)
    return values


def _rows(inputs: Sequence[Field]) -> list[list[Field]]:
    """Inputs in their order, a few to a row; one that holds several words has a row of its own."""
    rows: list[list[Field]] = []
    for field in inputs:
        open_row = rows and len(rows[-1]) < PER_ROW and WIDE not in (rows[-1][0].kind, field.kind)
        if open_row:
            rows[-1].append(field)
        else:
            rows.append([field])
    return rows


def _draw_input(field: Field, refusal: Refusal | None) -> Any:
    value = field_input.draw(field)
    said = refusal.messages(field.path, value) if refusal else []
    field_input.draw_message(field, said or complaints(field, value))
    return value


def _has_errors(inputs: Sequence[Field], refusal: Refusal | None) -> bool:
    if refusal is None:
        return False
    wrong = {error["field"] for error in refusal.errors}
    return any(field.path in wrong for field in inputs)
