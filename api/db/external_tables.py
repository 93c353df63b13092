"""The tables about clients from outside. Times are seconds since the epoch, as in `tables`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db.table import Table


class Invitation(Table):
    """Lets one external client enrol, once; of its token only the SHA-256 is kept."""

    __tablename__ = "invitations"
    __table_args__ = (Index(None, "project", "created_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64))
    project: Mapped[str] = mapped_column(String(64))
    labels: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    created_by: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[float]
    used_at: Mapped[float | None]
    client: Mapped[str | None] = mapped_column(String(32))  # who enrolled with it
    revoked_at: Mapped[float | None]


class External(Table):
    """A client that enrolled from outside: a data owner with a key of its own."""

    __tablename__ = "externals"
    __table_args__ = (Index(None, "project", "name", unique=True),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    project: Mapped[str] = mapped_column(String(64))
    labels: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    invitation: Mapped[str] = mapped_column(String(32))
    heartbeat_at: Mapped[float | None]  # none: its key was never used
    version: Mapped[str | None] = mapped_column(String(64))
    hardware: Mapped[dict[str, Any]]
    status: Mapped[str | None] = mapped_column(String(200))  # why it takes no work just now
    revoked_at: Mapped[float | None]
    offences: Mapped[int] = mapped_column(default=0, server_default="0")  # since its release
    quarantined_at: Mapped[float | None]
    offence: Mapped[str | None] = mapped_column(Text)  # the last one


class Refusal(Table):
    """An external client does not take part in a job that it may join, and says why."""

    __tablename__ = "refusals"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    external: Mapped[str] = mapped_column(String(32), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[float]
