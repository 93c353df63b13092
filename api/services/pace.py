"""How often clients are asked to come: the more of them there are, the less often each.

A heartbeat a second tells a client soon that its job was cancelled, and a thousand of them are
more than an API process should be busy with. So the service says the pace with every answer.
"""

from __future__ import annotations

import time
from threading import Lock

from sqlalchemy import Engine

from api.db import rounds
from api.db.session import reading

CLAIM_AGAIN_S = 5
_QUICKEST_S = 1.0
_BEATS_PER_S = 100.0  # of all clients together
_COUNT_EVERY_S = 5.0


class Pace:
    """The heartbeats' pace; counts the leases now and then, not for each of them."""

    def __init__(self) -> None:
        self._lock, self._counted_at, self._leases = Lock(), float("-inf"), 0

    def heartbeat_s(self, engine: Engine, lease_s: float) -> float:
        """Seconds between two heartbeats of a client: four of them fit into a lease at least."""
        wanted_s = max(_QUICKEST_S, self._count(engine) / _BEATS_PER_S)
        return round(min(wanted_s, lease_s / 4), 3)

    def _count(self, engine: Engine) -> int:
        now = time.monotonic()
        with self._lock:
            if now - self._counted_at < _COUNT_EVERY_S:
                return self._leases
            self._counted_at = now
        with reading(engine) as session:
            self._leases = rounds.count_leased(session)
        return self._leases


pace = Pace()
