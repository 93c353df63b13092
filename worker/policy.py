"""What an external client accepts: its owner's policy, a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.sizes import Size, rounded_up
from fedkrso_core.spec import JobSpec, problems_of
from fedkrso_core.strict import Strict


class Policy(Strict):
    """Everything is allowed that nothing here forbids."""

    methods: list[str] | None = Field(None, description="Methods it takes part in; empty: all")
    models: dict[str, Path | None] | None = Field(
        None, description="Models it trains, and the folder of its own copy; empty: all"
    )
    max_memory: Size | None = Field(None, description="Peak memory of a training: 4GB")
    bytes_per_day: Size | None = Field(None, description="Up and down together: 500MB")
    hours: str | None = Field(None, description="Local hours in which it works: 20:00-06:00")
    other_clients: int = Field(0, ge=0, description="Clients beside it in every closed round")
    privacy_required: bool = Field(False, description="Only jobs with differential privacy")

    @field_validator("models", mode="before")
    @classmethod
    def _names_alone(cls, models: Any) -> Any:
        return dict.fromkeys(models) if isinstance(models, list) else models

    @field_validator("hours")
    @classmethod
    def _is_a_span(cls, hours: str | None) -> str | None:
        if hours is not None:
            span(hours)
        return hours

    def refuses(self, spec: JobSpec) -> str | None:
        """Why the client does not take part in a job; None if it may."""
        if self.methods is not None and spec.method.name not in self.methods:
            return f"method {spec.method.name!r}; allowed here: {', '.join(self.methods)}"
        if self.models is not None and spec.model not in self.models:
            return f"model {spec.model!r}; allowed here: {', '.join(self.models)}"
        if self.privacy_required:
            return "the job has no differential privacy, which is required here"
        others = (spec.clients.min_clients or 1) - 1
        if others < self.other_clients:
            wanted = self.other_clients + 1
            return (
                f"a round may close with {others + 1} updates (clients.min_clients); at least "
                f"{wanted} are required here"
            )
        return None

    def refuses_memory(self, peak_bytes: int) -> str | None:
        """Why a training that takes so much memory is refused; None if it may be."""
        if self.max_memory is None or peak_bytes <= self.max_memory:
            return None
        most = rounded_up(self.max_memory)
        return f"a training takes {rounded_up(peak_bytes)} of memory; allowed here: {most}"

    def pauses(self, now: datetime, moved_today: int) -> str | None:
        """Why the client takes no work just now; None if it does."""
        if self.hours is not None and not _within(now.time(), *span(self.hours)):
            return f"works from {self.hours.replace('-', ' to ')} only"
        if self.bytes_per_day is not None and moved_today >= self.bytes_per_day:
            used, most = rounded_up(moved_today), rounded_up(self.bytes_per_day)
            return f"{used} moved today; allowed here: {most} a day"
        return None

    def model_for(self, name: str) -> str:
        """The folder of the client's own copy of a model, else the name itself."""
        own = (self.models or {}).get(name)
        return name if own is None else str(own.expanduser())


def span(hours: str) -> tuple[time, time]:
    """(from, to) of 20:00-06:00; ValueError for another form."""
    try:
        first, last = hours.split("-")
        return time.fromisoformat(first.strip()), time.fromisoformat(last.strip())
    except ValueError:
        raise ValueError(f"{hours!r} are no hours; allowed: such as 20:00-06:00") from None


def _within(now: time, first: time, last: time) -> bool:
    """Also over midnight."""
    return first <= now < last if first <= last else now >= first or now < last


def read(path: Path | None) -> Policy:
    """The policy of a file, or one that allows everything; SpecError names what is wrong."""
    if path is None:
        return Policy()
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SpecError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise SpecError([Problem(str(path), f"is not YAML: {line}")]) from None
    if not isinstance(data, Mapping):
        raise SpecError([Problem(str(path), "is a mapping of fields")])
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_of(error.errors(), Policy, str(path))) from None
