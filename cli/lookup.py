"""Which job is meant: its id, its name, or the beginning of its id."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cli.client import ApiClient, ApiProblem, Json
from cli.errors import CliError


def find_job(client: ApiClient, wanted: str) -> Json:
    """The job with this id, else the newest with this name, else the one whose id begins so."""
    return _by_id(client, wanted) or _by_name_or_prefix(client, wanted)


def _by_id(client: ApiClient, wanted: str) -> Json | None:
    if not re.fullmatch(r"[\w-]+", wanted):
        return None
    try:
        return client.job(wanted)
    except ApiProblem as problem:
        if problem.status in (400, 404, 422):
            return None
        raise


def _by_name_or_prefix(client: ApiClient, wanted: str) -> Json:
    begin_so = []
    for job in _every_job(client):
        if job["name"] == wanted:
            return job
        if wanted and job["id"].startswith(wanted):
            begin_so.append(job)
    if len(begin_so) == 1:
        return begin_so[0]
    if begin_so:
        ids = ", ".join(job["id"] for job in begin_so[:5])
        raise CliError(f"{wanted}: {len(begin_so)} jobs begin with it, such as {ids}")
    raise CliError(f"{wanted}: no such job; `fedkrso jobs` lists them")


def _every_job(client: ApiClient) -> Iterator[Json]:
    after = None
    while True:
        jobs, after = client.jobs(limit=100, after=after)
        yield from jobs
        if after is None:
            return
