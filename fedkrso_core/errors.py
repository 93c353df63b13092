"""Errors of the core. They know no HTTP; the API maps each to a problem document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class CoreError(Exception):
    """Anything the core refuses, with a message that names the value and what is allowed."""


class PayloadError(CoreError):
    """Bytes or tensors that are not the payload that was expected; `kind` says in which way."""

    def __init__(self, message: str, kind: str = "invalid-update") -> None:
        super().__init__(message)
        self.kind = kind


class MethodError(CoreError):
    """A method was given a model, a state or updates that it cannot work with.

    `field` names the option of the method's Config at fault, where there is one.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class MemoryLost(CoreError):
    """A client's own state between rounds is not where it was kept."""


class DataError(CoreError):
    """A data set that is missing, unreadable or lacks a column."""


class PartitionError(CoreError):
    """Rows that cannot be divided among the clients as asked."""


class ModelError(CoreError):
    """A model that cannot be loaded or does not fit the task."""


class WrongModel(ModelError):
    """A base model that is not the one of the job."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a job file: where, what was given, what is allowed."""

    field: str
    message: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class SpecError(CoreError):
    """A job file that cannot run; carries every problem that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)
