"""What a job file says about its rounds, or the service's settings where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.settings import Settings
from fedkrso_core import rounds_spec
from fedkrso_core.rounds_spec import of_stored

Spec = Mapping[str, Any]


def timeout_s(spec: Spec, settings: Settings) -> float:
    """Seconds from the opening of a round to its deadline."""
    given = spec.get("round_timeout_s")
    return settings.round_deadline_s if given is None else float(given)


def attempts(spec: Spec, settings: Settings) -> int:
    """Leases for one client's part of a round."""
    given = spec["clients"].get("attempts")
    return settings.max_attempts if given is None else int(given)


def target(spec: Spec) -> int | None:
    """Updates that close a round at once; None: those of all its clients."""
    clients, rounds = spec["clients"], of_stored(spec["rounds"])
    if rounds.buffered or clients.get("select_extra"):
        return rounds.closes_at(int(clients["per_round"]))
    return None


def max_norm(spec: Spec) -> float | None:
    """The largest norm of an update; None: any."""
    given = (spec.get("robust") or {}).get("max_norm")
    return None if given is None else float(given)


def least(spec: Spec) -> int | None:
    """Updates that a round can close with at its deadline; None: the service's quorum."""
    given = spec["clients"].get("min_clients")
    return None if given is None else int(given)


def evaluates(spec: Spec, number: int) -> bool:
    """Whether the model after this round is measured; the last of a job is in any case."""
    every = int((spec.get("evaluate") or {}).get("every", 1))
    return rounds_spec.evaluates(number, every, of_stored(spec["rounds"]).count)
