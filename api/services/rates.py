"""Rate limits per key: a bucket each for reads, writes, uploads and the work of clients.

In memory, for each process of the API; in Redis, for all of them, where the broker is Redis. A
Redis that does not answer is replaced by memory for a while: a limiter never stops the service.
Heartbeats are not counted at all.
"""

from __future__ import annotations

import logging
import math
import time
from functools import lru_cache
from typing import Any, Literal

from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.errors import ApiError
from api.settings import Settings

Bucket = Literal["reads", "writes", "uploads", "work", "refusals"]
# keys that nobody knows, from one address: enough for a client that was not told of a new key
REFUSALS = "300/minute"
_TIMEOUT_S = 0.5
_AWAY_S = 30.0
_log = logging.getLogger("api.rates")


class Rates:
    """Counts requests in their buckets."""

    def __init__(self, broker_url: str, **rates: str) -> None:
        self._items = {name: parse(rate) for name, rate in rates.items()}
        self._memory = SlidingWindowCounterRateLimiter(MemoryStorage())
        shared = broker_url.startswith(("redis://", "rediss://"))
        self._shared = _redis(broker_url) if shared else None
        self._away_until = 0.0

    def count(self, bucket: Bucket, whose: str) -> None:
        """Counts one request; ApiError 429 with the time to wait if the bucket is full."""
        item = self._items[bucket]
        wait_s = self._wait_s(item, bucket, whose)
        if wait_s is not None:
            detail = f"more than {item} ({bucket} of {whose}): wait {wait_s} s"
            raise ApiError(429, "too-many-requests", detail, headers={"Retry-After": str(wait_s)})

    def _wait_s(self, item: RateLimitItem, *names: str) -> int | None:
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return _hit(self._shared, item, *names)
            except StorageError as error:
                self._away_until = time.monotonic() + _AWAY_S
                _log.warning("rates are counted in memory: %s", type(error).__name__)
        return _hit(self._memory, item, *names)


def _hit(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, *names: str) -> int | None:
    if limiter.hit(item, *names):
        return None
    reset = limiter.get_window_stats(item, *names).reset_time
    return max(1, math.ceil(reset - time.time()))


def _redis(url: str) -> SlidingWindowCounterRateLimiter:
    timeouts: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    storage = RedisStorage(url, wrap_exceptions=True, key_prefix="fedkrso-rates", **timeouts)
    return SlidingWindowCounterRateLimiter(storage)


def rates_of(settings: Settings) -> Rates:
    """The process's counters."""
    return _rates(
        settings.broker_url,
        reads=settings.rate_reads,
        writes=settings.rate_writes,
        uploads=settings.rate_uploads,
        work=settings.rate_work,
        refusals=REFUSALS,
    )


_rates = lru_cache(Rates)
