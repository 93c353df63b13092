"""Where the server is and with which key to speak to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

SERVER = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Settings:
    """What the dashboard needs to know; the key never appears in a printed Settings."""

    server: str = SERVER
    api_key: str = field(default="", repr=False)


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings of FEDKRSO_SERVER and FEDKRSO_API_KEY; empty counts as not given."""
    server = environment.get("FEDKRSO_SERVER") or SERVER
    return Settings(server.rstrip("/"), environment.get("FEDKRSO_API_KEY", ""))
