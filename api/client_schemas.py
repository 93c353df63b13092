"""What the routes about invitations and external clients take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.access_schemas import ProjectName

A_DAY_S = 24 * 3600
_WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
ClientName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", examples=["hospital-a"])]
Labels = Annotated[
    dict[Annotated[str, Field(pattern=_WORD)], Annotated[str, Field(pattern=_WORD)]],
    Field(max_length=20, examples=[{"site": "eu"}], description="Jobs select clients by them"),
]
Version = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["0.1.0"])]


Status = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class InvitationIn(_In):
    """A new invitation for one client."""

    project: ProjectName | None = Field(None, description="Default: as for a new job")
    labels: Labels = {}
    expires_in_s: int = Field(7 * A_DAY_S, ge=1, le=366 * A_DAY_S)


class InvitationOut(BaseModel):
    """An invitation without its token."""

    id: str = Field(examples=["5f0c6a1be2d34790"])
    project: str
    labels: dict[str, str]
    state: Literal["open", "used", "expired", "revoked"]
    created_at: datetime
    created_by: str | None = None
    expires_at: datetime
    used_at: datetime | None = None
    client: str | None = Field(None, description="Id of the client that enrolled with it")


class InvitationMade(InvitationOut):
    """A new invitation; `token` is shown this once and never again."""

    token: str = Field(repr=False, examples=["fi_5f0c6a1be2d34790_..."])


class Invitations(BaseModel):
    """Invitations, newest first."""

    items: list[InvitationOut]


class Hardware(_In):
    """What a client trains on."""

    device: str = Field("", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["cuda"])
    free_memory_bytes: int | None = Field(None, ge=0, lt=2**63)
    threads: int | None = Field(None, ge=1, lt=2**31)


class EnrolIn(_In):
    """A client enrols; the token of its invitation is the bearer."""

    name: ClientName
    version: Version | None = None
    hardware: Hardware = Hardware()


class HelloIn(_In):
    """What a client says of itself when it starts."""

    version: Version | None = None
    hardware: Hardware = Hardware()
    status: Status | None = Field(None, description="Why it takes no work just now; null: it does")


class ClientChange(_In):
    """What changes about a client."""

    labels: Labels


class WorkOut(BaseModel):
    """What a client works on."""

    job: str
    name: str = Field(description="Of the job")
    round: int = Field(description="The round whose model it began with")
    client: int = Field(description="Its number in the job")
    step: int = Field(description="Optimizer steps done")
    steps: int
    leased_at: datetime | None = None


class TurnedDownOut(BaseModel):
    """An open job that a client does not take part in, in its words."""

    job: str
    name: str = Field(description="Of the job")
    reason: str
    at: datetime


class ExternalOut(BaseModel):
    """A client from outside, as it stands now."""

    id: str = Field(examples=["9c1d2e3f4a5b6c7d"])
    name: str
    project: str
    labels: dict[str, str]
    state: Literal["active", "quarantined", "revoked"]
    offences: int = Field(0, description="Refused for what no honest client sends, since a release")
    offence: str | None = Field(None, description="The last one")
    quarantined_at: datetime | None = None
    created_at: datetime
    heartbeat_at: datetime | None = Field(None, description="When it was last heard of, to 10 s")
    version: str | None = None
    hardware: Hardware
    status: str | None = Field(None, description="Why it takes no work just now, in its words")
    work: list[WorkOut] = Field([], description="What it works on right now")
    refuses: list[TurnedDownOut] = Field([], description="Open jobs that it turned down")
    keys: list[str] = Field([], description="Ids of its valid keys")


class Externals(BaseModel):
    """External clients by project and name."""

    items: list[ExternalOut]


class Enrolled(BaseModel):
    """A client and its key, which is shown this once and never again."""

    client: ExternalOut
    key: str = Field(repr=False, examples=["fk_5f0c6a1be2d34790_..."])


class OfferOut(BaseModel):
    """A job that the calling client may join, or has joined."""

    job: str
    name: str
    state: Literal["queued", "running", "paused"]
    spec: dict[str, Any] = Field(description="The job file with every default filled in")
    labels: list[str] = Field(description="Label names, in the order of their numbers")
    base_sha256: str | None = Field(
        None, description="Digest of the base model's weights; null before the job has started"
    )
    client: int | None = Field(None, description="The caller's number in it; null: not joined")
    places: int = Field(description="Free ones")
    clients: int = Field(description="Clients that take part now, the caller not counted")
    refused: str | None = Field(None, description="Why the caller does not take part, as it said")


class Offers(BaseModel):
    """Jobs for the calling client, oldest first."""

    items: list[OfferOut]


class JoinIn(_In):
    """A client takes part in a job."""

    num_examples: int = Field(ge=1, lt=2**31, description="Rows it trains on: its weight")


class JoinedOut(BaseModel):
    """The client has a place."""

    job: str
    client: int = Field(description="Its number in the job")
    num_examples: int


class RefuseIn(_In):
    """A client does not take part in a job."""

    reason: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")


class PlaceOut(BaseModel):
    """An external client that takes part in a job."""

    client: int
    id: str
    name: str
    num_examples: int = Field(description="As it says")
    present: bool = Field(description="False: it is revoked or quarantined, or refuses by now")
    status: str | None = None
    heartbeat_at: datetime | None = None
    joined_at: datetime | None = None


class RefusalOut(BaseModel):
    """An external client that may take part in a job and does not."""

    id: str
    name: str
    reason: str
    at: datetime


class Taking(BaseModel):
    """The external clients of a job."""

    items: list[PlaceOut]
    refusals: list[RefusalOut]
    places: int = Field(description="Free ones")
    lacks: str | None = Field(None, description="Which clients must come before a round can open")


class HoldoutIn(_In):
    """How good the model of the round is on rows of the client that it does not train on."""

    num_examples: int = Field(ge=1, lt=2**31)
    metrics: dict[
        Annotated[str, Field(pattern=_WORD)], Annotated[float, Field(allow_inf_nan=False)]
    ] = Field(min_length=1, max_length=20, examples=[{"accuracy": 0.8, "loss": 0.5}])
