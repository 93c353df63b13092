"""The error of a column that does not hold what the job file says."""

from __future__ import annotations

from fedkrso_core.errors import Problem, SpecError


def refused(where: str, message: str, value: str) -> SpecError:
    """A SpecError with the one problem of a field of the job file."""
    return SpecError([Problem(where, message, value)])
