"""The queue: hints that there is work. The database is the truth, so a lost hint is harmless.

No request waits for a broker that is away: after a failed attempt hints are dropped for a while.
And no hints pile up where nobody takes them: a queue that is long enough gets no more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, TypeVar

from celery import Celery

from api.settings import settings
from messaging import queues
from messaging.depth import depth

MOST_WAITING = 1000  # hints in a queue; more would not start more workers
AWAY_S = 5.0  # after a failure the broker is left alone for this long

_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0}  # a broken connection

_log = logging.getLogger("api.queue")
T = TypeVar("T")


@lru_cache
def broker() -> queues.Broker:
    """The process's broker."""
    s = settings()
    return queues.Broker(s.broker_url, s.queue_folder, s.queue_prefix, s.longest_task_s)


@lru_cache
def celery_app() -> Celery:
    """The process's Celery application."""
    app = Celery("fedkrso")
    app.conf.update(broker().settings())
    return app


def hint_training(count: int) -> None:
    """Tells the clients' workers that so many assignments wait.

    Hints that wait already count: where workers are busy they would find nothing new to do.
    """
    if count:
        _send(queues.TRAIN_TASK, broker().clients, lambda here: min(count, MOST_WAITING) - here)


def hint_forget() -> None:
    """Tells the clients' workers that jobs are gone of which they may keep something."""
    _send(queues.FORGET_TASK, broker().clients, _one)


def hint_advance(job_id: str) -> None:
    """Tells a coordinator to look at a job."""
    _send(queues.ADVANCE_TASK, broker().coordinator, _one, job_id)


def hint_export(job_id: str, number: int) -> None:
    """Tells a coordinator to build the model folder of a round."""
    _send(queues.EXPORT_TASK, broker().coordinator, _one, job_id, number)


def hint_collect() -> None:
    """Tells a coordinator to clear away what is kept no longer."""
    _send(queues.COLLECT_TASK, broker().coordinator, _one)


def coordinators_are_behind() -> bool:
    """Whether hints for coordinators wait already, or cannot be sent: more would help nobody."""
    return _tried(lambda: waiting(broker().coordinator)) != 0


def waiting(queue: str) -> int:
    """How many messages lie in a queue; raises what the broker's library raises."""
    with celery_app().pool.acquire(block=True, timeout=AWAY_S) as connection:
        return depth(celery_app(), connection.default_channel, queue)


def _one(waiting_now: int) -> int:
    return min(1, MOST_WAITING - waiting_now)


def _send(task: str, queue: str, count: Callable[[int], int], *args: str | int) -> None:
    """Sends `count(messages that wait)` hints."""
    _tried(lambda: _send_now(task, count(waiting(queue)), *args))


def _send_now(task: str, count: int, *args: str | int) -> None:
    for _ in range(count):
        celery_app().send_task(task, args=list(args), retry=True, retry_policy=_ONCE_MORE)


def _tried(call: Callable[[], T]) -> T | None:
    """What the call gives; None if the broker is, or was a moment ago, away."""
    if time.monotonic() < Away.until:
        return None
    try:
        return call()
    except Exception as error:
        # the ticker finds the work in the database and announces it again
        Away.until = time.monotonic() + AWAY_S
        _log.warning("no hint: the broker does not answer (%s: %s)", type(error).__name__, error)
        return None


class Away:
    """Until when nobody tries to reach the broker, on the monotonic clock."""

    until: ClassVar[float] = 0.0
