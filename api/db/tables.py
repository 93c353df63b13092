"""The tables. Times are seconds since the epoch on the server's clock, sizes bytes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db.external_tables import External as External
from api.db.external_tables import Invitation as Invitation
from api.db.external_tables import Refusal as Refusal
from api.db.table import Table as Table


class User(Table):
    """Somebody who may use the service; never deleted, so that a name means one person for ever."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))  # admin | operator | viewer
    created_at: Mapped[float]
    disabled_at: Mapped[float | None]


class Project(Table):
    """What jobs belong to; they are seen by its members alone."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[float]
    created_by: Mapped[str | None] = mapped_column(String(64))
    max_open_jobs: Mapped[int | None]  # none: the service's setting


class Member(Table):
    """A user may see a project, and act in it as far as the user's role goes."""

    __tablename__ = "members"

    project: Mapped[str] = mapped_column(ForeignKey("projects.name"), primary_key=True)
    user: Mapped[str] = mapped_column(ForeignKey("users.name"), primary_key=True, index=True)


class Key(Table):
    """An API key; only its SHA-256 is kept."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    # user (then the owner's role counts) | worker | client
    role: Mapped[str] = mapped_column(String(16))
    user: Mapped[str | None] = mapped_column(ForeignKey("users.name"), index=True)  # the owner
    label: Mapped[str] = mapped_column(String(100), default="", server_default="")
    prefix: Mapped[str | None] = mapped_column(String(40))  # how the key begins, if its id does
    created_at: Mapped[float]
    last_used_at: Mapped[float | None]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    # of an external client, its id; no foreign key: what is revoked stays readable
    client: Mapped[str | None] = mapped_column(String(32), index=True)


class Audit(Table):
    """Who did what; written in the transaction that does it. Names nothing that may go away."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "project", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float]
    user: Mapped[str | None] = mapped_column(String(64))
    key: Mapped[str | None] = mapped_column(String(32))  # the key's id
    role: Mapped[str | None] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str | None] = mapped_column(String(200))
    detail: Mapped[str | None] = mapped_column(String(200))
    project: Mapped[str | None] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(32))  # ok, or the kind of the refusal
    status: Mapped[int | None]  # of a refusal
    address: Mapped[str | None] = mapped_column(String(64))
    request: Mapped[str | None] = mapped_column(String(64))


class Job(Table):
    """queued -> running -> done | failed | cancelled; paused in between, and back to queued

    While `stopped_at` is set, the job's clock stands still: since then it was paused, or had
    failed, and nothing that is due in it comes due.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "state"),
        Index(None, "project", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # no foreign keys: SQLite cannot add them to a table that others refer to
    project: Mapped[str] = mapped_column(String(64), default="default", server_default="default")
    created_by: Mapped[str | None] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16), default="queued")
    reason: Mapped[str | None] = mapped_column(Text)
    spec: Mapped[dict[str, Any]]
    rounds: Mapped[int]
    rounds_closed: Mapped[int] = mapped_column(default=0)
    data_sha256: Mapped[str] = mapped_column(String(64))
    base_sha256: Mapped[str | None] = mapped_column(String(64))  # of the weights it begins with
    model_sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    errors: Mapped[int] = mapped_column(default=0)  # unexpected ones of the coordinator in a row
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    stopped_at: Mapped[float | None]
    stopped_s: Mapped[float] = mapped_column(default=0.0, server_default="0")  # in all, since start
    paused_by: Mapped[str | None] = mapped_column(String(16))  # user | room: the disk is full
    room_bytes: Mapped[int | None] = mapped_column(BigInteger)  # what a full disk had no room for
    # forecast upload of each round, kept where the budget limits it; read only between two rounds
    forecast_up: Mapped[list[int] | None] = mapped_column(deferred=True)
    labels: Mapped[list[str] | None]  # label names in order; none for jobs of earlier versions


class Client(Table):
    """A client of a job: how many rows it has, which state it received last, what it remembers."""

    __tablename__ = "clients"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    client: Mapped[int] = mapped_column(primary_key=True)
    num_examples: Mapped[int]
    have_round: Mapped[int | None]
    # what the client kept for itself with its last accepted update; it lies with the client
    memory_round: Mapped[int | None]
    memory_sha256: Mapped[str | None] = mapped_column(String(64))
    external: Mapped[str | None] = mapped_column(String(32), index=True)  # who has the place
    joined_at: Mapped[float | None]


class Round(Table):
    """collecting -> aggregating -> closed | failed; number 0 holds the initial state.

    A closed round may still have to be measured: its clients need not wait for that.
    """

    __tablename__ = "rounds"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    opened_at: Mapped[float]
    closed_at: Mapped[float | None]
    deadline: Mapped[float]
    extended: Mapped[bool] = mapped_column(default=False)
    expected: Mapped[dict[str, Any]]  # what an upload must look like
    # fence of who aggregates it, or measures it once it is closed
    aggregator: Mapped[str | None] = mapped_column(String(32))
    aggregator_until: Mapped[float | None]
    digest: Mapped[str | None] = mapped_column(String(64), index=True)  # state after this round
    size: Mapped[int | None] = mapped_column(BigInteger)
    # what the server's optimizer remembers after this round; of the last closed round alone
    server_digest: Mapped[str | None] = mapped_column(String(64), index=True)
    # the weights that the journal up to this round changed, while work is open that is offered them
    checkpoint_digest: Mapped[str | None] = mapped_column(String(64), index=True)
    checkpoint_size: Mapped[int | None] = mapped_column(BigInteger)
    # what its updates are measured from, where the job bounds their norm and they hold values
    reference_digest: Mapped[str | None] = mapped_column(String(64), index=True)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    aggregate_s: Mapped[float] = mapped_column(default=0.0)
    evaluate_s: Mapped[float] = mapped_column(default=0.0)
    measured_at: Mapped[float | None]
    aggregating_at: Mapped[float | None]
    stopped_s: Mapped[float] = mapped_column(default=0.0, server_default="0")  # while it was open


class Assignment(Table):
    """A client's part of a round: pending -> leased -> done | failed | cancelled."""

    __tablename__ = "assignments"
    __table_args__ = (
        Index(None, "job_id", "number", "client", unique=True),
        Index(None, "job_id", "counted_in"),
        Index(None, "state"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]  # the round whose model the client begins with
    counted_in: Mapped[int | None]  # the round that its update is part of; later if it is stale
    client: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default="pending")
    needs_from: Mapped[int]  # first state that the model of this round is made of
    lacks_from: Mapped[int]  # first state that this client was never sent
    checkpoint_round: Mapped[int | None]  # whose checkpoint is offered in place of states
    attempt: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_hash: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[float | None]
    created_at: Mapped[float]
    hinted_at: Mapped[float]
    pending_at: Mapped[float | None]  # since when it waits for a worker
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
    # of the round's model on a client's own hold-out: {num_examples, metrics}; empty without one
    holdout: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
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


class Upload(Table):
    """Rows that were uploaded for the jobs of a project; the blob has the digest in `source`."""

    __tablename__ = "uploads"

    source: Mapped[str] = mapped_column(String(100), primary_key=True)  # upload:SHA256.ENDING
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"), primary_key=True, index=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(200))  # as its owner calls it
    size: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int]
    columns: Mapped[list[str]]
    user: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float]


class Blob(Table):
    """A blob that is stored, or about to be; its row is the lock between keeping and clearing."""

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "touched_at"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]
    touched_at: Mapped[float]  # when somebody last stored it, or referred to it
    fence: Mapped[str] = mapped_column(String(32))  # another one as soon as it may be removed


class Total(Table):
    """A figure that only ever rises, so far as the other tables do not hold it (any more)."""

    __tablename__ = "totals"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float]
