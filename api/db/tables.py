"""The tables. Times are seconds since the epoch on the server's clock, sizes bytes."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """Base of the tables; constraints get predictable names for migrations."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[int]: JSON(none_as_null=True),
    }


class Key(Table):
    """An API key; only its SHA-256 is kept."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))  # user | worker
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class Job(Table):
    """queued -> running -> done | failed | cancelled"""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "state"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16), default="queued")
    reason: Mapped[str | None] = mapped_column(Text)
    spec: Mapped[dict[str, Any]]
    rounds: Mapped[int]
    rounds_closed: Mapped[int] = mapped_column(default=0)
    data_sha256: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    errors: Mapped[int] = mapped_column(default=0)  # unexpected ones of the coordinator in a row
    # forecast upload of each round, kept where the budget limits it; read only between two rounds
    forecast_up: Mapped[list[int] | None] = mapped_column(deferred=True)


class Client(Table):
    """A client of a job: how many rows it has and which state it received last."""

    __tablename__ = "clients"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    client: Mapped[int] = mapped_column(primary_key=True)
    num_examples: Mapped[int]
    have_round: Mapped[int | None]


class Round(Table):
    """collecting -> aggregating -> closed | failed; number 0 holds the initial state."""

    __tablename__ = "rounds"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    opened_at: Mapped[float]
    closed_at: Mapped[float | None]
    deadline: Mapped[float]
    extended: Mapped[bool] = mapped_column(default=False)
    expected: Mapped[dict[str, Any]]  # what an upload must look like
    aggregator: Mapped[str | None] = mapped_column(String(32))  # fence of who aggregates
    aggregator_until: Mapped[float | None]
    digest: Mapped[str | None] = mapped_column(String(64), index=True)  # state after this round
    size: Mapped[int | None] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    aggregate_s: Mapped[float] = mapped_column(default=0.0)
    evaluate_s: Mapped[float] = mapped_column(default=0.0)


class Assignment(Table):
    """A client's part of a round: pending -> leased -> done | failed | cancelled."""

    __tablename__ = "assignments"
    __table_args__ = (Index(None, "job_id", "number", "client", unique=True), Index(None, "state"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    client: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default="pending")
    needs_from: Mapped[int]  # first state that the model of this round is made of
    lacks_from: Mapped[int]  # first state that this client was never sent
    attempt: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_hash: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[float | None]
    created_at: Mapped[float]
    hinted_at: Mapped[float]
    leased_at: Mapped[float | None]
    heartbeat_at: Mapped[float | None]
    done_at: Mapped[float | None]
    step: Mapped[int] = mapped_column(default=0)
    bytes_down: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_lost: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_up: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_up_lost: Mapped[int] = mapped_column(BigInteger, default=0)  # refused, or sent again
    digest: Mapped[str | None] = mapped_column(String(64), index=True)  # the accepted update
    num_examples: Mapped[int]
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    train_s: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Text)


class Event(Table):
    """Something that happened to a job, in plain words."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]


class Export(Table):
    """The model folder of a round as a zip: building -> ready | failed."""

    __tablename__ = "exports"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16), default="building")
    requested_at: Mapped[float]  # when somebody last asked for it
    digest: Mapped[str | None] = mapped_column(String(64), index=True)
    error: Mapped[str | None] = mapped_column(Text)


class Blob(Table):
    """A blob that is stored, or about to be; its row is the lock between keeping and clearing."""

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "touched_at"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]
    touched_at: Mapped[float]  # when somebody last stored it, or referred to it
    fence: Mapped[str] = mapped_column(String(32))  # another one as soon as it may be removed
