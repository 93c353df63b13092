"""The method of a job: one of the registry, with what the job asks of any method put around it."""

from __future__ import annotations

from fedkrso_core.local_head import with_local_head
from fedkrso_core.method import Method
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import JobSpec


def method_of(spec: JobSpec, name: str | None = None) -> Method:
    """The job's method, or as the job would have it another one of that name."""
    method = METHODS[spec.method.name if name is None else name]
    if spec.local_head:
        method = with_local_head(method)
    return method
