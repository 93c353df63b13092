"""What jobs can be made of: methods, models, data sets, and the schema of the job file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from api import guard
from api.schemas import DatasetOut, MethodOut, ModelOut
from api.services import method_texts
from fedkrso_core.spec import JobSpec

router = guard.router("/v1", "catalogue", guard.ForMembers)


class Methods(BaseModel):
    """The registry."""

    items: list[MethodOut]


class Models(BaseModel):
    """Models that are there without a download."""

    items: list[ModelOut]


class Datasets(BaseModel):
    """Built-in data sets."""

    items: list[DatasetOut]


@router.get("/methods")
def methods() -> Methods:
    """Every method with the JSON schema of its options."""
    from fedkrso_core.methods import METHODS  # loads torch, which the API does not do at start

    return Methods(items=[_method(method) for method in METHODS.values()])


def _method(method: Any) -> MethodOut:
    return MethodOut(
        name=method.name,
        title=method.title,
        paper=method.paper,
        summary=method_texts.summary(method),
        traffic=method_texts.traffic(method),
        config=method.Config.model_json_schema(),
    )


@router.get("/models")
def models() -> Models:
    """The presets; a job may also name a local folder or a hub id."""
    from fedkrso_core.models import PRESETS

    return Models(
        items=[
            ModelOut(name=name, title=p.title, parameters=p.parameters)
            for name, p in PRESETS.items()
        ]
    )


@router.get("/datasets")
def datasets() -> Datasets:
    """The built-in data sets; a job may also name a file or a data set of the hub."""
    from fedkrso_core.data import BUILTIN

    return Datasets(
        items=[
            DatasetOut(name=name, title=title, text="text", label="label")
            for name, title in BUILTIN.items()
        ]
    )


@router.get("/schemas/job")
def job_schema() -> dict[str, Any]:
    """The JSON schema of the job file, for forms and editors."""
    return JobSpec.model_json_schema()
