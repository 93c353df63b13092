"""The clients of a job: how many there are, and the rules of a round about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fedkrso_core.strict import Strict


class SelectSpec(Strict):
    """Which external clients of the job's project may join: those that have all these labels."""

    labels: dict[str, str] = Field({}, description="Labels that a client must have: {site: eu}")


class ExternalSpec(Strict):
    """Places for clients from outside, which train on data that the service never sees."""

    min: int = Field(1, ge=1, le=10_000, description="Clients that must have joined for a round")
    max: int | None = Field(
        None, ge=1, le=10_000, validate_default=True, description="Places; empty: min"
    )
    select: SelectSpec = Field(SelectSpec(), description="Which clients may join")
    max_examples: int = Field(
        1_000_000, ge=1, lt=2**31, description="Rows that a client may say it has"
    )
    join_timeout_s: float = Field(
        86_400.0, gt=0, le=315_360_000, description="The job fails if too few have joined by then"
    )

    @field_validator("max")
    @classmethod
    def _places_fit(cls, places: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("min")
        if least is None:
            return places
        if places is not None and places < least:
            raise ValueError(f"{places} places for at least {least} clients; allowed: from {least}")
        return least if places is None else places

    @property
    def places(self) -> int:
        """How many clients can join."""
        return self.min if self.max is None else self.max


class ClientsSpec(Strict):
    """How many clients there are, how many train in a round, and how many of them it takes.

    Clients 0, 1, ... are simulated: the job's data is divided among them. With `external` the last
    numbers are places for clients from outside, and `count` is the sum of both.
    """

    count: int = Field(8, ge=1, le=100_000, description="All clients, simulated and external")
    per_round: int = Field(
        4, ge=1, description="Clients that train in each round", validate_default=True
    )
    min_clients: int | None = Field(
        None,
        ge=1,
        description="Updates that a round can close with at its deadline; empty: the service's",
    )
    select_extra: int = Field(
        0, ge=0, description="Clients chosen on top; the first per_round that answer count"
    )
    attempts: int | None = Field(
        None, ge=1, description="Tries for one client's part of a round; empty: the service's"
    )

    simulated: int | None = Field(
        None, ge=0, le=100_000, description="Clients that the data is divided among; empty: count"
    )
    external: ExternalSpec | None = Field(
        None, validate_default=True, description="Clients that train on data of their own"
    )

    @model_validator(mode="before")
    @classmethod
    def _add_up(cls, data: Any) -> Any:
        """`count` and by default `per_round` are those of both kinds together."""
        if not isinstance(data, Mapping) or not (data.get("external") or data.get("simulated")):
            return data
        try:
            total = _total(data)
        except (TypeError, ValueError, AttributeError):  # the fields themselves say what is wrong
            return data
        return {"count": total, "per_round": total} | dict(data)

    @field_validator("external")
    @classmethod
    def _numbers_fit(
        cls, external: ExternalSpec | None, info: ValidationInfo
    ) -> ExternalSpec | None:
        count, simulated = info.data.get("count"), info.data.get("simulated")
        places = 0 if external is None else external.places
        if count is None or (external is None and simulated is None):
            return external
        if count != (simulated or 0) + places:
            sum_of = f"simulated {simulated or 0} + {places} external"
            raise ValueError(f"count is {count}, {sum_of} clients are not; leave count out")
        return external

    @property
    def shares(self) -> int:
        """Clients that the job's data is divided among; those above are external."""
        return self.count if self.external is None else self.simulated or 0

    @field_validator("per_round")
    @classmethod
    def _round_fits(cls, per_round: int, info: ValidationInfo) -> int:
        count = info.data.get("count", per_round)
        if per_round > count:
            raise ValueError(f"{per_round} of {count} clients; allowed: 1 to {count}")
        return per_round

    @field_validator("min_clients")
    @classmethod
    def _quorum_fits(cls, least: int | None, info: ValidationInfo) -> int | None:
        per_round = info.data.get("per_round")
        if least is not None and per_round is not None and least > per_round:
            raise ValueError(
                f"{least} of {per_round} clients in a round; allowed: 1 to {per_round}"
            )
        return least

    @field_validator("select_extra")
    @classmethod
    def _extra_fits(cls, extra: int, info: ValidationInfo) -> int:
        if not {"count", "per_round"} <= set(info.data):
            return extra
        count, per_round = info.data["count"], info.data["per_round"]
        if per_round + extra > count:
            left = f"allowed: 0 to {count - per_round}"
            raise ValueError(f"{per_round} + {extra} of {count} clients; {left}")
        return extra


def _total(data: Mapping[str, Any]) -> int:
    external = data.get("external") or {}
    if isinstance(external, ExternalSpec):
        places = external.places
    else:
        places = external.get("max") or external.get("min", 1) if external else 0
    return int(data.get("simulated") or 0) + int(places)


def quorum_of(share: float, clients: int) -> int:
    """How many clients a share of them is, rounded up; at least one."""
    return max(1, math.ceil(share * clients - 1e-9))  # 0.07 * 100 is above 7 in floating point
