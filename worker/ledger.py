"""How many bytes a client moved today; kept in a file, so that a restart forgets nothing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path


class Ledger:
    """Bytes of states and updates by day; only the present day is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def today(self) -> int:
        """Bytes moved since midnight, local time."""
        try:
            found = json.loads(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0
        is_today = isinstance(found, dict) and found.get("day") == date.today().isoformat()
        return int(found["bytes"]) if is_today else 0

    def add(self, count: int) -> None:
        """Notes that so many bytes were moved."""
        entry = {"day": date.today().isoformat(), "bytes": self.today() + count}
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(entry), encoding="ascii")
        new.replace(self._path)
