"""Settings of the control plane, from FEDKRSO_* environment variables. All times are seconds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from limits import parse
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from fedkrso_core.home import expanded, home
from messaging.queues import LONGEST_TASK_S, NAME, PREFIX
from telemetry.redact import passwords


def _rate(text: str) -> str:
    try:
        parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is no rate; allowed: such as 100/second, 6000/minute") from None
    return text


Rate = Annotated[str, AfterValidator(_rate)]


def blob_address(url: str) -> str:
    """A place for blobs, checked; ValueError says what is allowed."""
    parts = urlsplit(url)
    folder = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    bucket = parts.scheme == "s3" and bool(parts.netloc) and not (parts.username or parts.query)
    if url and not folder and not bucket:
        raise ValueError("allowed: file:///FOLDER (absolute) or s3://BUCKET/PREFIX")
    return url


class Settings(BaseSettings):
    """What the API and the coordinator are told from outside."""

    model_config = SettingsConfigDict(env_prefix="FEDKRSO_")

    home: Annotated[Path, AfterValidator(expanded)] = Field(
        default_factory=home, description="State folder of the embedded default"
    )
    database_url: str = Field("", repr=False, description="Default: SQLite in the state folder")
    broker_url: str = Field("filesystem://", repr=False, description="Celery's broker")
    queue_prefix: str = Field(
        PREFIX, pattern=NAME, description="Keeps two installations on one broker apart"
    )
    longest_task_s: float = Field(
        LONGEST_TASK_S, ge=60, description="Above the longest work on one hint"
    )
    blob_url: Annotated[str, AfterValidator(blob_address)] = Field(
        "", description="file:///folder or s3://bucket/prefix. Default: blobs/ in the state folder"
    )
    blob_redirects: bool = Field(True, description="Downloads from S3 go there by a presigned link")
    blob_link_s: float = Field(300.0, gt=0, le=604800, description="Lifetime of such a link")
    blob_public_endpoint: str = Field("", description="S3's endpoint as clients reach it")
    blob_grace_s: float = Field(3600.0, ge=0, description="An unused blob is kept for this")
    collect_every_s: float = Field(600.0, gt=0, description="How often unused blobs are looked for")
    keep_updates_s: float = Field(
        7 * 86400.0, ge=0, description="Uploads of an ended job are kept for this"
    )
    keep_exports_s: float = Field(
        7 * 86400.0, ge=0, description="A model folder that nobody asks for is kept for this"
    )
    keep_jobs_s: float | None = Field(
        None, ge=0, description="An ended job is deleted after this; default: never"
    )
    keep_audit_s: float | None = Field(
        None, ge=0, description="A line of the audit log is removed after this; default: never"
    )
    lease_s: float = Field(30.0, gt=0, description="A silent client loses its lease after this")
    round_deadline_s: float = Field(3600.0, gt=0, description="A round closes with its quorum then")
    quorum: float = Field(
        0.5, gt=0, le=1, description="Share of a round's clients it can close with"
    )
    max_attempts: int = Field(5, ge=1, description="Leases for one client's part of a round")
    tick_s: float = Field(1.0, gt=0, description="How often the coordinator looks at open jobs")
    max_running: int = Field(8, ge=1, description="Jobs that run at once; the others are queued")
    # both are about silence, as a lease is: nobody need set them
    rehint_s: float = Field(
        default_factory=lambda known: known.get("lease_s", 30.0),
        gt=0,
        description="Work that nobody took is announced again",
    )
    aggregate_lease_s: float = Field(
        default_factory=lambda known: known.get("lease_s", 30.0),
        gt=0,
        description="A silent coordinator is replaced",
    )
    keep_free_bytes: int = Field(
        64 * 2**20, ge=0, description="Room on the disk that uploads leave to the service"
    )
    upload_limit_bytes: int = Field(8 * 2**30, gt=0, description="Largest update accepted")
    rows_limit_bytes: int = Field(
        200 * 10**6, gt=0, description="Largest file of rows that can be uploaded for jobs"
    )
    body_limit_bytes: int = Field(
        2**20, gt=0, description="Largest body of any request but an update or a file of rows"
    )
    max_open_jobs: int = Field(
        100, ge=0, description="Jobs of a project that have not ended; a project may have its own"
    )
    rate_reads: Rate = Field("6000/minute", description="Reads of one key")
    rate_writes: Rate = Field("1200/minute", description="Submits, cancels and the like of one key")
    rate_uploads: Rate = Field("12000/minute", description="Updates handed in with one key")
    rate_work: Rate = Field(
        "120000/minute", description="Claims, downloads and give-backs of one worker key"
    )
    bootstrap_api_key: str = Field(
        "", repr=False, description="Key stored (hashed) at start, role admin"
    )
    bootstrap_worker_key: str = Field(
        "", repr=False, description="Key stored (hashed) at start, role worker"
    )

    quarantine_after: int = Field(
        5, ge=1, description="Offences after which an external client is quarantined"
    )
    metrics_key: str = Field(
        "", repr=False, description="Opens /metrics as bearer; without it that is off"
    )

    def secrets(self) -> list[str]:
        """What must not show in a log line."""
        given = [self.bootstrap_api_key, self.bootstrap_worker_key, self.metrics_key]
        return given + passwords(self.database_url, self.broker_url)

    @property
    def database(self) -> str:
        """SQLAlchemy's URL of the database."""
        return self.database_url or f"sqlite:///{self.home / 'fedkrso.db'}"

    @property
    def blob_folder(self) -> Path:
        """Where content-addressed blobs lie, or before they go to S3 their parts."""
        url = urlsplit(self.blob_url)
        return Path(unquote(url.path)) if url.scheme == "file" else self.home / "blobs"

    @property
    def queue_folder(self) -> Path:
        """Where filesystem:// keeps its messages."""
        return self.home / "queue"


@lru_cache
def settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
