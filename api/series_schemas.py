"""Curves of jobs: what was measured and sent, round by round, or thinned out."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.schemas import JobState


class PointOut(BaseModel):
    """A closed round; where rounds are left out, it stands for those before it too."""

    round: int
    metrics: dict[str, float] = Field({}, description="Empty if the round was not evaluated")
    elapsed_s: float = Field(description="From the job's start to the round's end, without pauses")
    bytes_up: int = Field(description="Of all rounds up to this one")
    bytes_down: int = Field(description="Of all rounds up to this one")
    peak_memory_bytes: int = Field(description="Highest of a client in what the point stands for")
    seconds: dict[str, float] = Field(
        description="Where a round's time went, as the mean of what the point stands for: `train` "
        "and `transfer` of a client in the mean, `aggregate`, and `wait`, the rest of the round"
    )


class SeriesOut(BaseModel):
    """The curves of a job."""

    id: str
    name: str
    state: JobState
    method: str
    headline: str = Field(description="The metric that says how well the job's task goes")
    higher_is_better: bool
    rounds: int = Field(description="Rounds to train")
    rounds_closed: int
    points: list[PointOut]


class SeriesPage(BaseModel):
    """The curves of several jobs, in the order in which they were asked for."""

    items: list[SeriesOut]
