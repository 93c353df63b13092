"""Divisions of rows among clients, before anything is stored or trained."""

from __future__ import annotations

from api.partition_schemas import PartitionOut, ShareOut
from fedkrso_core.spec import JobSpec


def inspect(spec: JobSpec, most: int) -> PartitionOut:
    """How the job's rows would be divided; SpecError if they cannot be.

    It is the division that a submit of the same file would make: the same seed, the same rows.
    """
    from fedkrso_core.examine import divided_rows  # loads torch, which the API does not at start

    found = divided_rows(spec)
    names, shares = list(found.train.label_names), found.divided
    clients = []
    for client, rows in enumerate(shares[:most]):
        own = found.train.select(rows).label_histogram() if names else []
        clients.append(ShareOut(client=client, num_examples=len(rows), labels=own))
    return PartitionOut(
        num_examples=len(found.train),
        num_validation=len(found.validation),
        labels=names,
        num_clients=len(shares),
        clients=clients,
    )
