"""Settings of the control plane, from FEDKRSO_* environment variables. All times are seconds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

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
    body_limit_bytes: int = Field(
        2**20, gt=0, description="Largest body of any request but an update"
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
        """Where content-addressed blobs lie."""
        return self.home / "blobs"

    @property
    def queue_folder(self) -> Path:
        """Where filesystem:// keeps its messages."""
        return self.home / "queue"


@lru_cache
def settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
