"""Dividing the rows of a job among its clients: every row goes to exactly one of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedkrso_core.data.examples import Examples
from fedkrso_core.errors import PartitionError
from fedkrso_core.seeds import generator
from fedkrso_core.spec import ByColumn, Dirichlet, Iid, PartitionSpec, Shards

Rows = NDArray[np.int64]
MAX_DRAWS = 100
TENTHS = 10


def divide(examples: Examples, spec: PartitionSpec, count: int, seed: int) -> list[Rows]:
    """Row indices of each of `count` clients, ascending; the same for the same seed.

    Raises:
        PartitionError: the rows do not give every client at least one.
    """
    if len(examples) < count:
        raise PartitionError(
            f"{count} clients cannot share {len(examples)} rows: each needs at least one; "
            f"allowed: at most {len(examples)} clients"
        )
    parts = _DIVIDE[spec.kind](examples, spec, count, generator(seed, "partition", spec.kind))
    return [np.sort(part) for part in parts]


def _iid(examples: Examples, _spec: Iid, count: int, rng: np.random.Generator) -> list[Rows]:
    """Sizes differ by at most one."""
    return np.array_split(rng.permutation(len(examples)), count)


def _dirichlet(
    examples: Examples, spec: Dirichlet, count: int, rng: np.random.Generator
) -> list[Rows]:
    """Shares of each label ~ Dirichlet(alpha), all drawn anew while a client gets no row.

    Hsu et al., Measuring the effects of non-identical data distribution, arXiv 1909.06335.
    """
    labels = _classes(examples)
    for _ in range(MAX_DRAWS):
        parts = _draw_shares(labels, spec.alpha, count, rng)
        empty = sum(len(part) == 0 for part in parts)
        if empty == 0:
            return parts
    raise PartitionError(
        f"dirichlet with alpha {spec.alpha:g} left {empty} of {count} clients without any of the "
        f"{len(labels)} rows in the last of {MAX_DRAWS} draws; "
        "take a larger alpha, fewer clients or more rows"
    )


def _classes(examples: Examples) -> NDArray[np.int64]:
    """What Dirichlet divides by: the labels; of numbers to predict, the tenth that each is in."""
    labels = np.array(examples.labels)
    if labels.dtype.kind != "f":
        return labels
    return np.searchsorted(np.quantile(labels, np.arange(1, TENTHS) / TENTHS), labels, "right")


def _draw_shares(
    labels: NDArray[np.int64], alpha: float, count: int, rng: np.random.Generator
) -> list[Rows]:
    pieces: list[list[Rows]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = np.cumsum(rng.dirichlet(np.full(count, alpha)))
        cuts = np.rint(shares[:-1] * len(rows)).astype(np.int64)
        for client, piece in enumerate(np.split(rows, cuts)):
            pieces[client].append(piece)
    return [np.concatenate(piece) for piece in pieces]


def _shards(examples: Examples, spec: Shards, count: int, rng: np.random.Generator) -> list[Rows]:
    """Rows sorted by label, cut into count * per_client shards that are dealt at random.

    McMahan et al., Communication-efficient learning of deep networks, arXiv 1602.05629.
    """
    shards = count * spec.per_client
    if len(examples) < shards:
        raise PartitionError(
            f"{count} clients with {spec.per_client} shards each need {shards} rows, "
            f"there are {len(examples)}; take fewer clients, fewer shards or more rows"
        )
    order = rng.permutation(len(examples))
    by_label = order[np.argsort(np.array(examples.labels)[order], kind="stable")]
    cut = np.array_split(by_label, shards)
    hands = rng.permutation(shards).reshape(count, spec.per_client)
    return [np.concatenate([cut[shard] for shard in hand]) for hand in hands]


def _by_column(
    examples: Examples, spec: ByColumn, count: int, rng: np.random.Generator
) -> list[Rows]:
    """Groups from the largest to the smallest, each to the client with the fewest rows so far."""
    groups = _groups(examples, spec, count)
    order = sorted(rng.permutation(len(groups)), key=lambda group: -len(groups[group]))
    loads = [(0, client) for client in range(count)]  # a heap: rows so far, client
    hands: list[list[Rows]] = [[] for _ in range(count)]
    for group in order:
        rows, client = loads[0]
        hands[client].append(groups[group])
        heapq.heapreplace(loads, (rows + len(groups[group]), client))
    return [np.concatenate(hand) for hand in hands]


def _groups(examples: Examples, spec: ByColumn, count: int) -> list[Rows]:
    if examples.groups is None:
        raise PartitionError(f"the rows were loaded without their column {spec.column!r}")
    owners, codes = np.unique(np.array(examples.groups), return_inverse=True)
    if len(owners) < count:
        raise PartitionError(
            f"column {spec.column!r} has {len(owners)} values for {count} clients, and a value "
            f"stays with one client; allowed: at most {len(owners)} clients"
        )
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes))[:-1])


_DIVIDE: dict[str, Callable[[Examples, Any, int, np.random.Generator], list[Rows]]] = {
    "iid": _iid,
    "dirichlet": _dirichlet,
    "shards": _shards,
    "by-column": _by_column,
}
