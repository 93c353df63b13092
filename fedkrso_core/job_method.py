"""The method of a job: one of the registry, with what the job asks of any method put around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fedkrso_core.coding import with_wire
from fedkrso_core.corrected import with_correction
from fedkrso_core.local_head import with_local_head
from fedkrso_core.method import Method, Update
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import Payload
from fedkrso_core.rounded_states import with_rounded_states
from fedkrso_core.spec import JobSpec
from fedkrso_core.wire_spec import WireSpec


def method_of(spec: JobSpec, name: str | None = None) -> Method:
    """The job's method, or as the job would have it another one of that name."""
    method = METHODS[spec.method.name if name is None else name]
    if spec.local_head:
        method = with_local_head(method)
    method = with_correction(method, spec.correction, spec.clients.count)
    if spec.weighting == "uniform":
        method = with_uniform_weights(method)
    if spec.wire != WireSpec():
        method = with_wire(method, spec.wire)
    if spec.wire.download != "fp32":
        method = with_rounded_states(method, spec.wire.download)
    return method


def with_uniform_weights(method: Method) -> Method:
    """The method, but for means in which every client counts as one."""

    def aggregate(config: Any, state: Payload, updates: Iterable[Update]) -> Payload:
        return method.aggregate(config, state, (replace(u, num_examples=1) for u in updates))

    return replace(method, aggregate=aggregate)
