"""Settings of a training client, from FEDKRSO_* environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from fedkrso_core.home import expanded, home
from messaging.queues import LONGEST_TASK_S, NAME, PREFIX, Broker


def _expanded(path: Path | None) -> Path | None:
    return None if path is None else expanded(path)


class Settings(BaseSettings):
    """What a worker is told from outside. It needs no database and no blob credentials."""

    model_config = SettingsConfigDict(env_prefix="FEDKRSO_")

    home: Annotated[Path, AfterValidator(expanded)] = Field(
        default_factory=home, description="State folder: queue, cache, snapshots"
    )
    client_memory: Annotated[Path | None, AfterValidator(_expanded)] = Field(
        None,
        description="What clients keep for themselves between rounds; workers on several machines "
        "need one folder that all of them reach",
    )
    server: str = Field("http://127.0.0.1:8000", description="The API's address")
    api_key: str = Field("", repr=False, description="A key of role worker")
    broker_url: str = Field("filesystem://", repr=False, description="Celery's broker")
    queue_prefix: str = Field(PREFIX, pattern=NAME, description="The same as the service's")
    longest_task_s: float = Field(
        LONGEST_TASK_S, ge=60, description="Above the longest training; the same as the service's"
    )

    @property
    def broker(self) -> Broker:
        """Where hints come from."""
        return Broker(self.broker_url, self.home / "queue", self.queue_prefix, self.longest_task_s)
