"""The state folder: everything the embedded service writes lies under it."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """FEDKRSO_HOME, else ~/.fedkrso; made if it is not there, readable by its owner alone."""
    return expanded(Path(os.environ.get("FEDKRSO_HOME") or "~/.fedkrso"))


def expanded(path: Path) -> Path:
    """The folder as an absolute path, made if it is not there."""
    path = path.expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
