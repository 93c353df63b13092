"""The filesystem broker with messages that appear whole or not at all.

Kombu's own channel makes a message's file and then writes into it, and so it does with the table
of an exchange. A reader that comes between the two takes an empty file, fails to parse it, and its
worker ends. Here both are written under a name that no reader looks for, and then renamed. Taken
messages stay in the state folder; kombu would move them to the system's temporary folder.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

_OFTEN_S, _BUSY_S = 0.01, 5.0


class Channel(filesystem.Channel):
    """Kombu's filesystem channel whose files appear whole."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        _write(folder / name, payload)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Notes the queue in the exchange's table; each exchange here has one queue."""
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        table = self.get_table(exchange)
        if bound not in table:
            self.control_folder.mkdir(exist_ok=True)
            _write(self._exchange_file(exchange), [bound, *table])

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - kombu's
        """The oldest message; of several readers, the one whose rename succeeds has it."""
        for path in sorted(Path(self.data_folder_in).glob(f"*.{queue}.msg")):
            taken = Path(self.processed_folder) / path.name
            try:
                path.replace(taken)
            except FileNotFoundError:
                continue
            text = taken.read_text(encoding="utf-8")
            taken.unlink()
            return loads(text)
        raise Empty


def _write(path: Path, content: Any) -> None:
    """Makes a file of JSON appear whole, under a name that nobody reads until then."""
    part = path.with_name(f"{path.name}.{uuid.uuid4()}.part")
    try:
        part.write_text(dumps(content), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ChannelError(f"cannot write {path}: {error}") from error


class Transport(filesystem.Transport):
    """What `filesystem://` stands for in this project.

    Who has just had a message looks for the next one more often: where rounds last a second, a
    tenth of it would go by before anybody notices that one is complete.
    """

    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._seldom_s = float(client.transport_options.get("polling_interval", 1.0))
        self._heard_at = -_BUSY_S

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Waits for a message and delivers it; TimeoutError if none comes in time."""
        busy = time.monotonic() - self._heard_at < _BUSY_S
        self.polling_interval = min(_OFTEN_S, self._seldom_s) if busy else self._seldom_s
        super().drain_events(connection, timeout=timeout)
        self._heard_at = time.monotonic()
