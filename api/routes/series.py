"""The curves of jobs, for charts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api import guard
from api.deps import Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.series_schemas import SeriesPage
from api.services import series

router = guard.router("/v1/jobs", "jobs", guard.ForMembers)
_MOST_JOBS = 100


@router.get(":series", responses=problem_responses(404))
def curves(
    engine: Database,
    caller: CallerOf,
    job: Annotated[list[str], Query(min_length=1, max_length=_MOST_JOBS, description="Ids")],
    points: Annotated[int, Query(ge=2, le=1000, description="Most points of a job")] = 200,
) -> SeriesPage:
    """The curves of some jobs: metrics, bytes, memory and time of their closed rounds.

    A job with more rounds than `points` is thinned out: bytes and time are sums since the start,
    so that nothing is lost between two points; memory is the highest in between.
    """
    return SeriesPage(items=series.of_jobs(engine, caller, job, points))
