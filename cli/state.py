"""The state folder: keys, the address of the running service, logs, exported models.

It is FEDKRSO_HOME, by default ~/.fedkrso. Whoever can read it can use the service, so everything
made here belongs to its owner alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.errors import CliError

DEFAULT_SERVER = "http://127.0.0.1:8000"


class AlreadyServed(CliError):
    """Another supervisor holds this state folder."""


@dataclass(frozen=True)
class Server:
    """What `up` writes down for the other commands."""

    url: str
    dashboard: str | None
    pid: int


@dataclass(frozen=True)
class Home:
    """The state folder and the places in it."""

    path: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Home:
        """The folder that FEDKRSO_HOME names, else ~/.fedkrso; it need not exist."""
        named = environ.get("FEDKRSO_HOME") or "~/.fedkrso"
        return cls(Path(named).expanduser().absolute())

    @property
    def logs(self) -> Path:
        """Where the output of the service's processes goes."""
        return self.path / "logs"

    @property
    def exports(self) -> Path:
        """Where `demo` puts the models."""
        return self.path / "exports"

    @property
    def database_url(self) -> str:
        """The embedded database."""
        return f"sqlite:///{self.path / 'fedkrso.db'}"

    def prepare(self) -> None:
        """Make the folders (0700) and the keys (0600) that are not there yet."""
        for folder in (self.path, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("api_key", "worker_key", "metrics_key"):
            _create_key(self.path / name)

    def key(self, name: str) -> str | None:
        """The key in the file `name`; None if it cannot be read."""
        try:
            return (self.path / name).read_text(encoding="ascii").strip() or None
        except OSError:
            return None

    def secret(self, name: str) -> str:
        """The key in the file `name`, which must be there."""
        key = self.key(name)
        if key is None:
            raise CliError(f"{self.path / name}: no key in it; delete the file to get a new one")
        return key

    def server(self) -> Server | None:
        """The service that runs on this folder, as far as is written down."""
        try:
            return Server(**json.loads((self.path / "server.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write_server(self, server: Server) -> None:
        """Tell the other commands where the service is."""
        new = self.path / "server.json.new"
        new.write_text(json.dumps(asdict(server)) + "\n", encoding="utf-8")
        new.replace(self.path / "server.json")

    def remove_server(self) -> None:
        """The service is no longer there."""
        (self.path / "server.json").unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only supervisor of this folder, or raise AlreadyServed."""
        with (self.path / "up.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._already_served() from None
            yield

    def _already_served(self) -> AlreadyServed:
        server = self.server()
        doing = f"already served at {server.url}" if server else "being started or stopped"
        return AlreadyServed(f"{self.path} is {doing}; FEDKRSO_HOME names another folder")


def _create_key(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"fk_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}\n")


def default_server(home: Home) -> str:
    """The address to talk to when none was given."""
    server = home.server()
    return server.url if server else DEFAULT_SERVER
