"""The state folder: everything the embedded service writes lies under it."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """FEDKRSO_HOME, else ~/.fedkrso; made if it is not there, readable by its owner alone."""
    path = Path(os.environ.get("FEDKRSO_HOME", "~/.fedkrso")).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
