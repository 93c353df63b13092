"""What a job will take, known before it runs: the result of `fedkrso_core.estimate`; torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from fedkrso_core.spec import Precision


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class RoundTraffic(_Frozen):
    """Bytes of one round, summed over its clients."""

    round: int
    clients: int = Field(description="Clients whose updates are counted in the round")
    bytes_up: int
    bytes_down: int


class Traffic(_Frozen):
    """Bytes of the job when every client answers once."""

    rounds: list[RoundTraffic]
    exact: bool = Field(
        True,
        description="False: rounds are buffered, and these are the bytes in the virtual time of "
        "`fedkrso run`; with the service they depend on which client is done when",
    )
    compressed: bool = Field(
        False,
        description="True: updates are compressed, and bytes_up is what they have before that",
    )
    bytes_up: int = Field(description="All rounds and clients")
    bytes_down: int = Field(description="All rounds and clients")
    bytes_up_per_client: int = Field(description="Mean over client-rounds")
    bytes_down_per_client: int = Field(description="Mean over client-rounds")


class Footprint(_Frozen):
    """Live tensors of a client at its peak, in bytes; the four parts add up to `peak`."""

    weights: int = Field(description="The model, and the state that the client received")
    gradients: int
    optimizer: int = Field(description="Optimizer states and accumulators kept between steps")
    activations: int = Field(description="Saved for the backward pass, and temporaries")
    peak: int
    process: int = Field(
        description="What the client will report: on CPU with Python and its libraries"
    )


class Pace(_Frozen):
    """Time on a machine like the one that makes the forecast."""

    step_flops: int = Field(description="Floating-point operations of a step")
    seconds_per_step: float
    seconds_per_round: float = Field(description="One client's training in a round")
    seconds: float = Field(description="All rounds, the clients of a round side by side")
    precision: dict[Precision, float] = Field(
        description="Seconds per step at each setting of local.precision"
    )


class Forecast(_Frozen):
    """One method's forecast for a job; `refused` says why this job cannot run with it."""

    method: str
    title: str
    refused: str | None = None
    traffic: Traffic | None = None
    memory: Footprint | None = None
    pace: Pace | None = None


class Forecasts(_Frozen):
    """The chosen methods side by side, the job's own first."""

    job: str = Field(description="Name of the job")
    device: str = Field(description="What the forecast is for: cpu, 1 thread or cuda, H100")
    forecasts: list[Forecast]
