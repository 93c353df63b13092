"""What a job file must satisfy beyond its form: the method's options, the model, the data.

Run at submit, so that a job that cannot run is refused with the field, the value and what is
allowed, before anything is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedkrso_core.budget import is_limited, problems
from fedkrso_core.errors import SpecError
from fedkrso_core.examine import check_method, config_of, examine
from fedkrso_core.spec import JobSpec, MethodSpec
from fedkrso_core.workload import labels_of


@dataclass(frozen=True)
class Checked:
    """A job that can run: its file with every default filled in, and its data's outline."""

    spec: JobSpec
    data_sha256: str
    num_examples: list[int]
    labels: list[str]
    bytes_up: tuple[int, ...] = ()  # forecast upload of each round, where the budget limits it


def check(spec: JobSpec) -> Checked:
    """The job, completed; SpecError with every problem found."""
    config = config_of(spec.method)
    found = examine(spec)
    check_method(spec.method, config, found.model, spec)
    named = MethodSpec(name=spec.method.name, **config.model_dump(mode="json"))
    return Checked(
        spec.model_copy(update={"method": named}),
        found.shares.sha256,
        found.num_examples(spec.clients.count, unknown=0),
        labels_of(spec, found.shares.train),
        _within_budget(spec),
    )


def _within_budget(spec: JobSpec) -> tuple[int, ...]:
    """The forecast upload of each round; SpecError if the forecast is above the budget.

    A forecast takes time, so a job without a budget gets none.
    """
    if not is_limited(spec.budget):
        return ()
    from fedkrso_core.estimate import estimate  # only these jobs load it

    own = estimate(spec).forecasts[0]
    if found := problems(spec.budget, own):
        raise SpecError(found)
    if spec.budget.bytes_up is None or own.traffic is None:
        return ()
    return tuple(planned.bytes_up for planned in own.traffic.rounds)
