"""What the routes about invitations and external clients take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

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


class ClientChange(_In):
    """What changes about a client."""

    labels: Labels


class ExternalOut(BaseModel):
    """A client from outside, as it stands now."""

    id: str = Field(examples=["9c1d2e3f4a5b6c7d"])
    name: str
    project: str
    labels: dict[str, str]
    state: Literal["active", "revoked"]
    created_at: datetime
    heartbeat_at: datetime | None = Field(None, description="When it was last heard of, to 10 s")
    version: str | None = None
    hardware: Hardware
    keys: list[str] = Field([], description="Ids of its valid keys")


class Externals(BaseModel):
    """External clients by project and name."""

    items: list[ExternalOut]


class Enrolled(BaseModel):
    """A client and its key, which is shown this once and never again."""

    client: ExternalOut
    key: str = Field(repr=False, examples=["fk_5f0c6a1be2d34790_..."])
