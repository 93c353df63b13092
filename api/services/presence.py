"""Which places for external clients are taken by clients that may take part, and which are not."""

from __future__ import annotations

import math

from sqlalchemy.orm import Session

from api.db import externals, rounds
from api.db.tables import Job
from fedkrso_core.clients import ClientsSpec


def clients_of(job: Job) -> ClientsSpec:
    """What the job file says about its clients."""
    return ClientsSpec.model_validate(job.spec["clients"])


def away(session: Session, job: Job) -> set[int]:
    """External places that nobody has, or whose client is revoked or quarantined."""
    clients = clients_of(job)
    if clients.external is None:
        return set()
    return set(range(clients.shares, clients.count)) - externals.present(session, job.id)


def missing(session: Session, job: Job) -> str | None:
    """Which clients must come before a round can open; None if enough are there."""
    clients = clients_of(job)
    if clients.external is None:
        return None
    there = clients.external.places - len(away(session, job))
    if there >= clients.external.min:
        return None
    wanted = " ".join(f"{name}={value}" for name, value in clients.external.select.labels.items())
    kind = f"external clients with {wanted}" if wanted else "external clients"
    return f"{kind}: {there} of {clients.external.min} have joined"


def patience_until(session: Session, job: Job) -> float:
    """When too few external clients are reason to give up: so long after the last round."""
    external, since = clients_of(job).external, rounds.last_closed(session, job.id)
    return math.inf if external is None or since is None else since + external.join_timeout_s
