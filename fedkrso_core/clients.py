"""The clients of a job: how many there are, and the rules of a round about them."""

from __future__ import annotations

import math

from pydantic import Field, ValidationInfo, field_validator

from fedkrso_core.strict import Strict


class ClientsSpec(Strict):
    """How many clients there are, how many train in a round, and how many of them it takes."""

    count: int = Field(8, ge=1, le=100_000, description="Clients that the data is divided among")
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


def quorum_of(share: float, clients: int) -> int:
    """How many clients a share of them is, rounded up; at least one."""
    return max(1, math.ceil(share * clients - 1e-9))  # 0.07 * 100 is above 7 in floating point
