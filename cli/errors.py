"""What goes wrong in front of a user, and how it is said: one readable line, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkrso_core.errors import CoreError, SpecError
from telemetry.redact import redact


class CliError(Exception):
    """Something the user can put right, in one line or a few, with the exit code that it gives."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.code = code


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Problems of the job file at `path` become one line each, and exit code 2."""
    try:
        yield
    except SpecError as error:
        fields = [(problem.field, problem.message) for problem in error.problems]
        raise bad_job(path, fields) from None


def bad_job(path: Path, problems: list[tuple[str, str]]) -> CliError:
    """The error for a job file with these (field, message) problems."""
    return CliError(*(_line(path, field, message) for field, message in problems), code=2)


def _line(path: Path, field: str, message: str) -> str:
    # a file that cannot be read is itself the field
    return f"{path}: {message}" if field == str(path) else f"{path}: {field}: {message}"


def explain(error: Exception) -> tuple[list[str], int]:
    """The lines to show for any error, and the exit code."""
    lines, code = _said(error)
    return [redact(line) for line in lines], code


def _said(error: Exception) -> tuple[list[str], int]:
    match error:
        case CliError():
            return list(error.lines), error.code
        case SpecError():
            return [str(problem) for problem in error.problems], 2
        case CoreError() | OSError():
            return [str(error)], 1
        case _:
            kind = type(error).__name__
            return [f"internal error, {kind}: {error}", "FEDKRSO_DEBUG=1 shows where"], 1
