"""Forecasts of jobs: their bytes, memory and time, before anything is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TypeVar

from api.schemas import EstimateOut, ProblemItem
from fedkrso_core import budget
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.forecast import Forecast
from fedkrso_core.spec import BudgetSpec, JobSpec

T = TypeVar("T")

# one at a time: they would disturb each other's times. A thread of its own: whoever waits must not
# hold one of those that heartbeats and uploads need
_DESK = ThreadPoolExecutor(1, "estimate")


async def alone(call: Callable[[], T]) -> T:
    """Calls what makes an estimate, after all others that do."""
    return await asyncio.wrap_future(_DESK.submit(call))


def estimate(spec: JobSpec, methods: Sequence[str]) -> EstimateOut:
    """The job's method and `methods` side by side; SpecError if the job cannot run."""
    # both load torch, which the API does not do at start
    from fedkrso_core import estimate as core
    from fedkrso_core.check import check

    # refused for what a submit is refused for, but the budget: what does not fit is in the answer
    check(spec.model_copy(update={"budget": BudgetSpec()}))
    found = core.estimate(spec, methods)
    own = found.forecasts[0]
    if own.refused is not None:
        raise SpecError([Problem("method", own.refused, own.method)])
    over = {item.method: _over(spec, item) for item in found.forecasts}
    return EstimateOut(**dict(found), over_budget={name: o for name, o in over.items() if o})


def _over(spec: JobSpec, forecast: Forecast) -> list[ProblemItem]:
    return [ProblemItem(**asdict(found)) for found in budget.problems(spec.budget, forecast)]
