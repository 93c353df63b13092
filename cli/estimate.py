"""`fedkrso estimate`: what a job will take, found out in this process, without any service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CliError, naming
from fedkrso_core.errors import SpecError

if TYPE_CHECKING:
    from api.schemas import EstimateOut
    from fedkrso_core.spec import JobSpec

Json = dict[str, Any]


def estimate_here(path: Path, methods: Sequence[str]) -> tuple[Json, Json]:
    """The forecast of the job file at `path`, as the API answers it, and the whole job.

    `methods` are others to compare with; CliError if the job cannot run or a name is unknown.
    """
    from fedkrso_core import spec

    with naming(path):
        job = spec.read(path)
        found = _estimate(job, methods)
    return found.model_dump(mode="json"), job.model_dump(mode="json")


def _estimate(job: JobSpec, methods: Sequence[str]) -> EstimateOut:
    from api.services.estimates import estimate

    try:
        return estimate(job, methods)
    except SpecError as error:
        # the names come from the option, not from the file
        if [problem.field for problem in error.problems] == ["methods"]:
            raise CliError(f"--{error}", code=2) from None
        raise
