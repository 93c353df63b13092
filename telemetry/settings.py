"""How the processes of the service log, from FEDKRSO_* environment variables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Level = Literal["debug", "info", "warning", "error", "critical"]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """The form and the least weight of log lines."""

    model_config = SettingsConfigDict(env_prefix="FEDKRSO_")

    log_format: Annotated[Literal["console", "json"], BeforeValidator(_lower)] = Field(
        "console", description="console for people, json for machines: one object a line"
    )
    log_level: Annotated[Level, BeforeValidator(_lower)] = Field(
        "info", description="Lines below this are not written"
    )
