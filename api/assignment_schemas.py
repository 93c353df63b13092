"""What the routes of assignments take and give: the exchange with training clients."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import Int32, Int64


class ClaimIn(BaseModel):
    """A client asks for work."""

    model_config = ConfigDict(extra="forbid")

    worker: str = Field(min_length=1, max_length=200, examples=["gpu-1:4242"])
    wait_s: float = Field(
        0.0, ge=0, le=60, description="If nothing waits, answer only after so many seconds"
    )


class StateOut(BaseModel):
    """One state of the global model's journal."""

    round: int
    digest: str = Field(description="SHA-256 of its encoding")
    size: int = Field(description="Bytes")
    lacking: bool = Field(description="This client has not received it before")


class CheckpointOut(BaseModel):
    """The weights that the states up to a round lead to, to download in their place."""

    round: int = Field(description="The last state that it replaces")
    digest: str = Field(description="SHA-256 of its encoding")
    size: int = Field(description="Bytes: fewer than the states that it replaces")


class MemoryOut(BaseModel):
    """What a client kept for itself with an update; it lies with the client."""

    round: int = Field(description="The round that the update was trained for")
    sha256: str = Field(description="Of its encoding, as the update's report gave it")


class AssignmentOut(BaseModel):
    """Work with a lease on it: train `client` for `round` of `job`."""

    id: str
    job: str
    round: int
    client: int
    lease_token: str
    lease_s: float = Field(description="Heartbeat well within this time")
    heartbeat_s: float = Field(1.0, description="Heartbeat this often")
    spec: dict[str, Any]
    data_sha256: str
    base_sha256: str | None = Field(None, description="Digest of the base model's weights")
    labels: list[str] = Field([], description="Label names, in the order of their numbers")
    num_examples: int = Field(0, description="Rows of this client, the weight of its update")
    external: bool = Field(False, description="The client trains on rows of its own")
    states: list[StateOut] = Field(description="The journal that makes the global model, in order")
    checkpoint: CheckpointOut | None = Field(
        None, description="Offered in place of the states up to its round; null: there is none"
    )
    memory: MemoryOut | None = Field(
        None, description="The client's own state, with which it begins; null: with none"
    )


class HeartbeatIn(BaseModel):
    """How far a client is."""

    model_config = ConfigDict(extra="forbid")

    step: Int32 = 0


class LeaseOut(BaseModel):
    """The lease was extended."""

    lease_s: float = Field(examples=[30.0])
    heartbeat_s: float = Field(1.0, description="Send the next one after this time")


class FailIn(BaseModel):
    """A client gives its assignment back."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=2000, examples=["out of memory"])


class ReportIn(BaseModel):
    """What a client measured while it trained; goes beside the update, not into its bytes."""

    model_config = ConfigDict(extra="forbid")

    peak_memory_bytes: Int64
    train_s: float = Field(ge=0, allow_inf_nan=False)
    memory_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Of what the client keeps for itself with this update; left out: nothing",
    )


class JobsIn(BaseModel):
    """Jobs of which a client keeps something."""

    model_config = ConfigDict(extra="forbid")

    jobs: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(
        max_length=1000
    )


class GoneOut(BaseModel):
    """Which of them are no more: what is kept of them can go."""

    gone: list[str]


class AcceptedOut(BaseModel):
    """The update is stored and will be aggregated."""

    digest: str = Field(description="SHA-256 of the body")
    bytes_up: int = Field(examples=[651234])


class ReceivedOut(BaseModel):
    """How much of an update is here; the rest is sent with Content-Range."""

    received: int = Field(description="Bytes from its beginning", examples=[400000])
