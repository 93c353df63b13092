"""What the routes about users, projects, keys and the audit log take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["admin", "operator", "viewer"]
KeyRole = Literal["user", "worker"]  # those that can be made by hand
UserName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,62}$", examples=["ada", "ada@lab.example"])
]
ProjectName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", examples=["default", "reviews"])
]
# a name in an address or a query need not be well formed: then there is no such thing
Label = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
OpenJobs = Annotated[int, Field(ge=0, lt=2**31)]
A_YEAR_S = 366 * 24 * 3600


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserIn(_In):
    """A new user; the name is for ever."""

    name: UserName
    role: Role = "operator"


class UserChange(_In):
    """What changes about a user; what is left out stays."""

    role: Role | None = None
    disabled: bool | None = Field(None, description="True: none of the user's keys is valid")


class UserOut(BaseModel):
    """Somebody who may use the service."""

    name: str
    role: Role
    disabled: bool
    projects: list[str] | None = Field(description="null: all of them, an admin's right")
    created_at: datetime


class Users(BaseModel):
    """Users by name."""

    items: list[UserOut]


class ProjectIn(_In):
    """A new project without members."""

    name: ProjectName
    max_open_jobs: OpenJobs | None = Field(None, description="null: the service's setting")


class ProjectChange(_In):
    """What changes about a project."""

    max_open_jobs: OpenJobs | None = Field(description="null: the service's setting")


class ProjectOut(BaseModel):
    """What jobs belong to, and who sees them."""

    name: str
    members: list[str] = Field(description="Admins see every project and are not listed")
    open_jobs: int = Field(description="Jobs that have not ended")
    max_open_jobs: int = Field(description="A submit above this is refused")
    created_at: datetime
    created_by: str | None = None


class Projects(BaseModel):
    """Projects by name."""

    items: list[ProjectOut]


class KeyIn(_In):
    """A new key."""

    label: Label = Field("", description="What it is for", examples=["laptop"])
    role: KeyRole = Field("user", description="worker: for training clients; made by admins")
    user: UserName | None = Field(None, description="Whose; default: the caller's own")
    expires_in_s: int | None = Field(None, ge=1, le=10 * A_YEAR_S, description="null: never")


class RotateIn(_In):
    """A key takes the place of another."""

    grace_s: int = Field(0, ge=0, le=A_YEAR_S, description="The old key is valid for so long")


class KeyOut(BaseModel):
    """An API key without its secret."""

    id: str = Field(examples=["5f0c6a1be2d34790"])
    prefix: str | None = Field(None, description="How the key begins; null for old keys")
    role: Literal["user", "worker", "client"]
    user: str | None = Field(None, description="Whose it is; null for a worker's or client's key")
    client: str | None = Field(None, description="Id of the external client that has it")
    label: str
    state: Literal["valid", "expired", "revoked"]
    created_at: datetime
    last_used_at: datetime | None = Field(None, description="To a minute")
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class KeyMade(KeyOut):
    """A new key; `key` is shown this once and never again."""

    key: str = Field(repr=False, examples=["fk_5f0c6a1be2d34790_..."])


class Keys(BaseModel):
    """Keys, newest first."""

    items: list[KeyOut]


class MeOut(BaseModel):
    """Who the caller is and what they may do."""

    user: str | None
    role: Role
    projects: list[str] = Field(description="Those whose jobs the caller sees")
    key: KeyOut


class AuditOut(BaseModel):
    """Who did what."""

    id: int
    at: datetime
    user: str | None = Field(None, description="null: nobody known, or a worker")
    key: str | None = Field(None, description="Id of the key that was used")
    role: str | None = None
    action: str = Field(examples=["jobs.cancel"])
    target: str | None = Field(None, description="What it was done to")
    detail: str | None = None
    project: str | None = None
    outcome: str = Field(description="ok, or the kind of the refusal", examples=["ok", "forbidden"])
    status: int | None = Field(None, description="Of a refusal")
    address: str | None = Field(None, description="Where the request came from")
    request: str | None = Field(None, description="Id of the request")


class AuditPage(BaseModel):
    """A page of the audit log, newest first."""

    items: list[AuditOut]
    next: int | None = Field(None, description="Give it as `after` to get the next page")
