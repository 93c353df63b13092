"""Under the input of a source of rows: a file goes to the server, its name there into the input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st

from dashboard.api_client import ApiProblem
from dashboard.components.connection import api
from dashboard.components.field_input import key_of
from dashboard.form_field import Field
from dashboard.words import count, plain

Json = dict[str, Any]
SOURCES = ("data.train", "data.validation")
_SENT = "uploaded-rows"  # by source: what the server said of the file
_TYPES = ["jsonl", "gz", "csv", "tsv", "parquet"]


def sources(known: Iterable[Json]) -> list[str]:
    """What an input can be set to: the uploads of this session, and those that the server knows."""
    return list(dict.fromkeys([*_sent(), *(upload["source"] for upload in known)]))


def draw_upload(field: Field, value: object, known: Iterable[Json]) -> None:
    """A button with a place for a file, and what the file is that the input names."""
    name, problem = field.key.replace(".", "-"), _problem_key(field)
    with st.popover("Upload rows", key=f"upload-{name}", width="stretch"):
        st.file_uploader(
            f"{field.label}: a file of rows",
            _TYPES,
            key=_key(field),
            on_change=_send,
            args=(field,),
            help="JSON lines (.jsonl, .jsonl.gz), .csv, .tsv or .parquet, with names of columns.",
        )
        if problem in st.session_state:
            st.markdown(f":red[{plain(st.session_state[problem])}]")
    told = {upload["source"]: upload for upload in known} | _sent()
    if value in told:
        found = told[str(value)]
        columns = ", ".join(found["columns"])
        st.caption(plain(f"{found['name']}: {count(found['rows'], 'row')}; {columns}"))


def _send(field: Field) -> None:
    """Called when a file was chosen, before the page is drawn."""
    file = st.session_state[_key(field)]
    st.session_state.pop(_problem_key(field), None)
    if file is None:
        return
    try:
        made = api().upload(file.name, file.getvalue(), st.session_state.get("project"))
    except ApiProblem as problem:
        st.session_state[_problem_key(field)] = problem.detail
        return
    st.session_state[_SENT] = {made["source"]: made, **_sent()}
    st.session_state[key_of(field)] = made["source"]


def _sent() -> dict[str, Json]:
    return dict(st.session_state.get(_SENT, {}))


def _key(field: Field) -> str:
    return f"rows-of-{field.key}"


def _problem_key(field: Field) -> str:
    return f"rows-problem-{field.key}"
