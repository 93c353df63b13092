"""The job of the form as text to copy."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import snippets
from dashboard.settings import read_settings


def draw_job_file(job: dict[str, Any], project: str | None) -> None:
    """YAML, curl and Python, each with a button that copies it."""
    server = read_settings().server
    with st.expander("Copy as YAML, curl or Python", key="job-file"):
        file, command, program = st.tabs(["YAML", "curl", "Python"])
        file.code(snippets.as_yaml(job), language=None)
        command.code(snippets.as_curl(job, server, project), language=None)
        program.code(snippets.as_python(job, server, project), language=None)
