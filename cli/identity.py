"""The file that an external client's key lies in: its owner alone can read it."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.errors import CliError


@dataclass(frozen=True)
class Identity:
    """Who a client is to which service."""

    server: str
    id: str
    name: str
    project: str
    key: str


def default_path() -> Path:
    """client.json of the state folder."""
    from cli.state import Home

    return Home.of(os.environ).path / "client.json"


def save(identity: Identity, path: Path) -> None:
    """Writes the file with mode 0600, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(identity), indent=2) + "\n")
    new.replace(path)


def load(path: Path) -> Identity:
    """What `save` wrote; CliError for a file that is missing, damaged, or open to others."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise CliError(f"{path} can be read by others: chmod 600 {path}", code=2)
        return Identity(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CliError(f"{path} is not there: enrol first (`fedkrso client enrol`)") from None
    except (OSError, ValueError, TypeError) as error:
        raise CliError(f"{path} is not the file of a client: {error}") from None
