"""What of an update is refused on arrival, beyond what no update may be."""

from __future__ import annotations

from pydantic import Field

from fedkrso_core.strict import Strict


class RobustSpec(Strict):
    """Bounds that hold for every client of the job."""

    max_norm: float | None = Field(
        None,
        gt=0,
        description="Largest L2 norm of what an update changes; empty: any",
    )
