"""What a job will take, before it runs: exact bytes, peak memory in parts, time per step.

    batch       the largest batch that the data can make
    traffic     bytes of every client in every round
    rehearsal   a short round played on tensors without values
    tracker     live tensor memory, event by event
    operations  what a step computes
    stage       all of it for one job, method after method
    footprint   peak memory from a rehearsal and the traffic
    pace        time from a rehearsal and the machine's speed

The method's own functions are run, so a new method is forecast without a line here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from pydantic import ValidationError

from fedkrso_core.batches import AnyEncoder, make_encoder
from fedkrso_core.device import default_device
from fedkrso_core.errors import ModelError, Problem, SpecError
from fedkrso_core.estimate.batch import largest_batch
from fedkrso_core.estimate.rehearsal import Rehearser
from fedkrso_core.estimate.stage import Stage
from fedkrso_core.examine import Examined, examine
from fedkrso_core.forecast import Forecasts
from fedkrso_core.machine import this_machine
from fedkrso_core.methods import METHODS
from fedkrso_core.models import from_config
from fedkrso_core.spec import JobSpec, MethodSpec

__all__ = ["estimate"]

# client's parts of rounds that are played, about half a millisecond each
MOST_VISITS = 50_000
# rehearsals set switches that hold for the whole process
_ONE_AT_A_TIME = threading.Lock()


def estimate(
    spec: JobSpec, methods: Sequence[str] | None = None, own: Examined | None = None
) -> Forecasts:
    """Forecasts of the job with its own method, and with others beside it.

    `methods` names them, "all" means every one of the registry. They get the job's options of the
    same name where those fit, else their defaults. A method that cannot run this job is `refused`.

    `own` are the rows and the model of an external client, which lacks the job's data.

    The first call in a process measures the machine, which takes some seconds.

    Raises:
        SpecError: no method can run this job (data, model, partition), a name is no method, or the
            job is too long to be played.
    """
    chosen = _chosen(spec.method, methods or ())
    _require_playable(spec)
    with _ONE_AT_A_TIME, ThreadPoolExecutor(1) as beside:
        found = own or examine(spec)
        machine = beside.submit(this_machine, spec)
        stage = Stage(
            spec,
            found,
            _rehearser(spec, found),
            largest_batch(found.shares.train, _encoder(spec, found), spec.local.batch_size),
        )
        played = [stage.play(method) for method in chosen]
        forecasts = [
            stage.forecast(method, one, machine.result())
            for method, one in zip(chosen, played, strict=True)
        ]
    return Forecasts(job=spec.name, device=str(machine.result()), forecasts=forecasts)


def _require_playable(spec: JobSpec) -> None:
    """Every client's part of every round is played: estimates wait for each other, not for ever."""
    count, per_round = spec.rounds.count, spec.clients.per_round
    if count * per_round > MOST_VISITS:
        message = (
            f"{count} rounds of {per_round} clients are too many for an estimate, which a "
            f"budget needs too; allowed: at most {MOST_VISITS // per_round}"
        )
        raise SpecError([Problem("rounds", message, count)])


def _encoder(spec: JobSpec, found: Examined) -> AnyEncoder:
    cpu = torch.device("cpu")
    return make_encoder(spec.task, found.tokenizer, spec.local.max_length, cpu)


def _rehearser(spec: JobSpec, found: Examined) -> Rehearser:
    try:
        return Rehearser(lambda: from_config(found.model.config, spec.task), default_device())
    except ModelError as error:
        raise SpecError([Problem("model", str(error), spec.model)]) from None


def _chosen(own: MethodSpec, names: Sequence[str]) -> list[MethodSpec]:
    """The job's method, and each other that is named, once."""
    for field, name in [("method.name", own.name), *(("methods", name) for name in names)]:
        if name not in METHODS and (field, name) != ("methods", "all"):
            allowed = ", ".join([*sorted(METHODS), *(["all"] if field == "methods" else [])])
            raise SpecError([Problem(field, f"{name!r} is no method; allowed: {allowed}", name)])
    others = METHODS if "all" in names else dict.fromkeys(names)
    return [own, *(_like(own, name) for name in others if name != own.name)]


def _like(own: MethodSpec, name: str) -> MethodSpec:
    """Another method with its defaults and those of the job's options that it has and takes."""
    schema, options = METHODS[name].Config, {}
    for option, value in own.options.items():
        try:
            schema(**{option: value})
        except ValidationError:
            continue
        options[option] = value
    return MethodSpec(name=name, **options)
