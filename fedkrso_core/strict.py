"""The base of the sections of a job file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and unknown fields are errors: a typing mistake must not become a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
