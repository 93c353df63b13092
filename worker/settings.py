"""Settings of a training client, from FEDKRSO_* environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from fedkrso_core.home import expanded, home


class Settings(BaseSettings):
    """What a worker is told from outside. It needs no database and no blob credentials."""

    model_config = SettingsConfigDict(env_prefix="FEDKRSO_")

    home: Annotated[Path, AfterValidator(expanded)] = Field(
        default_factory=home, description="State folder: queue, cache, snapshots"
    )
    server: str = Field("http://127.0.0.1:8000", description="The API's address")
    api_key: str = Field("", repr=False, description="A key of role worker")
    broker_url: str = Field("filesystem://", repr=False, description="Celery's broker")
