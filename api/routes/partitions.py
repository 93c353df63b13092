"""The division of a job's rows, to look at before it is submitted."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from fastapi.concurrency import run_in_threadpool

from api import guard
from api.deps import BlobStore, Database
from api.guard import CallerOf
from api.partition_schemas import PartitionOut
from api.services import job_rows, partitions
from fedkrso_core.spec import JobSpec

router = guard.router("/v1/jobs", "jobs", guard.ForMembers)


@router.post(":partition")
async def partition(
    spec: JobSpec,
    engine: Database,
    blobs: BlobStore,
    caller: CallerOf,
    most: Annotated[int, Query(ge=1, le=1000, description="Clients to list")] = 100,
) -> PartitionOut:
    """How the rows of a job would be divided among its clients. Nothing is stored or trained.

    The data is loaded, so the first answer may take some seconds. The model and the method are not
    looked at.
    """
    await run_in_threadpool(job_rows.prepare, engine, blobs, spec.data, caller.projects)
    return await run_in_threadpool(partitions.inspect, spec, most)
