"""What a job file must satisfy beyond its form: the method's options, the model, the data.

Run at submit, so that a job that cannot run is refused with the field, the value and what is
allowed, before anything is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import nn

from fedkrso_core.errors import MethodError, ModelError, PartitionError, Problem, SpecError
from fedkrso_core.methods import METHODS
from fedkrso_core.models import load_tokenizer, shapes_only
from fedkrso_core.spec import JobSpec, MethodSpec, problems_of
from fedkrso_core.workload import Shares, shares_of


@dataclass(frozen=True)
class Checked:
    """A job that can run: its file with every default filled in, and its data's outline."""

    spec: JobSpec
    data_sha256: str
    num_examples: list[int]
    labels: list[str]


def check(spec: JobSpec) -> Checked:
    """The job, completed; SpecError with every problem found."""
    config = _config(spec)
    shares = _shares(spec)
    model = _model(spec, shares)
    _check_method(spec, config, model)
    _check_length(spec, model)
    named = MethodSpec(name=spec.method.name, **config.model_dump(mode="json"))
    return Checked(
        spec.model_copy(update={"method": named}),
        shares.sha256,
        [len(rows) for rows in shares.rows],
        list(shares.train.label_names),
    )


def _config(spec: JobSpec) -> Any:
    if spec.method.name not in METHODS:
        allowed = ", ".join(sorted(METHODS))
        message = f"{spec.method.name!r} is no method; allowed: {allowed}"
        raise SpecError([Problem("method.name", message, spec.method.name)])
    schema = METHODS[spec.method.name].Config
    try:
        return schema(**spec.method.options)
    except ValidationError as error:
        raise SpecError(problems_of(error.errors(), schema, "method")) from None


def _shares(spec: JobSpec) -> Shares:
    try:
        return shares_of(spec)
    except PartitionError as error:
        raise SpecError([Problem("partition", str(error), spec.partition.kind)]) from None


def _model(spec: JobSpec, shares: Shares) -> nn.Module:
    try:
        load_tokenizer(spec.model)
        return shapes_only(spec.model, shares.train.label_names)
    except ModelError as error:
        raise SpecError([Problem("model", str(error), spec.model)]) from None


def _check_method(spec: JobSpec, config: Any, model: nn.Module) -> None:
    try:
        METHODS[spec.method.name].check(config, model, spec.local)
    except MethodError as error:
        field = f"method.{error.field}" if error.field else "method"
        value = getattr(config, error.field) if error.field else spec.method.name
        raise SpecError([Problem(field, str(error), value)]) from None


def _check_length(spec: JobSpec, model: nn.Module) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and spec.local.max_length > limit:
        message = f"{spec.local.max_length} tokens; the model takes 4 to {limit}"
        raise SpecError([Problem("local.max_length", message, spec.local.max_length)])
