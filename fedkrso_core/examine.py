"""What a job needs before it can run: its method's options, its data, its model; or what is wrong.

Shared by `check`, which a job must pass at submit, and by the forecasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import nn

from fedkrso_core import corrected, rounded_states, server_step
from fedkrso_core.errors import MethodError, ModelError, PartitionError, Problem, SpecError
from fedkrso_core.job_method import method_of
from fedkrso_core.lean import check_memory
from fedkrso_core.lean.quantized import quantized_option
from fedkrso_core.local_head import require_head
from fedkrso_core.method import Method
from fedkrso_core.methods import METHODS
from fedkrso_core.models import load_tokenizer, shapes_only
from fedkrso_core.spec import JobSpec, MethodSpec, problems_of
from fedkrso_core.workload import Shares, shares_of


@dataclass(frozen=True)
class Examined:
    """The data and the outline of the model of a job, which fit each other."""

    shares: Shares
    model: nn.Module  # without weights
    tokenizer: Any

    def num_examples(self, clients: int, unknown: int) -> list[int]:
        """Rows of each client; `unknown` for the external ones, which have their own."""
        known = [len(rows) for rows in self.shares.divided]
        return [*known, *[unknown] * (clients - len(known))]


def config_of(method: MethodSpec) -> Any:
    """The method's Config; SpecError for a name that is none, or options that are wrong."""
    if method.name not in METHODS:
        allowed = ", ".join(sorted(METHODS))
        message = f"{method.name!r} is no method; allowed: {allowed}"
        raise SpecError([Problem("method.name", message, method.name)])
    schema = METHODS[method.name].Config
    try:
        return schema(**method.options)
    except ValidationError as error:
        raise SpecError(problems_of(error.errors(), schema, "method")) from None


def examine(spec: JobSpec) -> Examined:
    """What does not depend on the method; SpecError if no method can run this job."""
    shares = divided_rows(spec)
    model, tokenizer = _model(spec, shares)
    _check_length(spec, model)
    _check_memory(spec, model)
    return Examined(shares, model, tokenizer)


def check_method(method: MethodSpec, config: Any, model: nn.Module, spec: JobSpec) -> None:
    """SpecError if this method cannot train this model as the job asks."""
    chosen = method_of(spec, method.name)
    try:
        chosen.check(config, model, spec.local)
    except MethodError as error:
        field = f"method.{error.field}" if error.field else "method"
        value = getattr(config, error.field) if error.field else method.name
        raise SpecError([Problem(field, str(error), value)]) from None
    _require_frozen(chosen, spec)
    _check_options(chosen, config, spec)
    if spec.local_head:
        _check_local_head(METHODS[method.name], config, model)
    if spec.rounds.buffered:
        _check_stale(chosen, config, spec)


def _require_frozen(method: Method, spec: JobSpec) -> None:
    option = quantized_option(spec.local)
    if option is not None and not method.leaves_weights:
        allowed = ", ".join(name for name, one in METHODS.items() if one.leaves_weights)
        message = f"{option} is for frozen weights; {method.name} needs them; allowed: {allowed}"
        raise SpecError([Problem("local.memory", message, list(spec.local.memory))])


def _check_options(method: Method, config: Any, spec: JobSpec) -> None:
    kind, optimizer, download = spec.correction.kind, spec.server.optimizer, spec.wire.download
    with _problem_of("correction.kind", kind):
        corrected.check(method, spec)
    with _problem_of("server.optimizer", optimizer):
        server_step.check(spec.server, method, config, spec.local)
    with _problem_of("wire.download", download):
        rounded_states.check(method, download, spec.rounds.buffered)


@contextmanager
def _problem_of(field: str, value: str) -> Iterator[None]:
    """Makes a MethodError inside the problem of a field."""
    try:
        yield
    except MethodError as error:
        raise SpecError([Problem(field, f"{value}: {error}", value)]) from None


def _check_local_head(method: Method, config: Any, model: nn.Module) -> None:
    try:
        require_head(method, config, model)
    except MethodError as error:
        raise SpecError([Problem("local_head", str(error), True)]) from None


def _check_stale(method: Method, config: Any, spec: JobSpec) -> None:
    with _problem_of("rounds.mode", "buffered"):
        if method.rebase is None:
            raise MethodError(f"{method.name} takes no updates of an earlier round")
        method.check_stale(config, spec.local)


def divided_rows(spec: JobSpec) -> Shares:
    """The job's rows, divided among its clients; SpecError if they cannot be."""
    try:
        return shares_of(spec)
    except PartitionError as error:
        raise SpecError([Problem("partition", str(error), spec.partition.kind)]) from None


def _model(spec: JobSpec, shares: Shares) -> tuple[nn.Module, Any]:
    try:
        tokenizer = load_tokenizer(spec.model)
        model = shapes_only(spec.model, shares.train.label_names, spec.task)
        if spec.task == "causal-lm" and tokenizer.eos_token_id is None:
            raise ModelError(f"{spec.model!r} has a tokenizer without an end token")
        return model, tokenizer
    except ModelError as error:
        raise SpecError([Problem("model", str(error), spec.model)]) from None


def _check_memory(spec: JobSpec, model: nn.Module) -> None:
    try:
        check_memory(model, spec.local)
    except MethodError as error:
        raise SpecError([Problem("local.memory", str(error), list(spec.local.memory))]) from None


def _check_length(spec: JobSpec, model: nn.Module) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and spec.local.max_length > limit:
        message = f"{spec.local.max_length} tokens; the model takes 4 to {limit}"
        raise SpecError([Problem("local.max_length", message, spec.local.max_length)])
