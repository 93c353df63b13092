"""`fedkrso estimate`: what a job will take, found out in this process, without any service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli.errors import naming

Json = dict[str, Any]


def estimate_here(path: Path, methods: Sequence[str]) -> tuple[Json, Json]:
    """The forecast of the job file at `path`, as the API answers it, and the whole job.

    `methods` are others to compare with; CliError if the job cannot run or a name is unknown.
    """
    from fedkrso_core import budget, spec

    with naming(path):
        job = spec.read(path)
        # torch is loaded only for a job file that can be read
        from fedkrso_core.estimate import estimate

        found = estimate(job, methods)
    over = {item.method: budget.problems(job.budget, item) for item in found.forecasts}
    said = {name: [asdict(problem) for problem in some] for name, some in over.items() if some}
    return found.model_dump(mode="json") | {"over_budget": said}, job.model_dump(mode="json")
