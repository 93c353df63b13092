"""Celery's door to the client: `celery -A worker.tasks:app worker -Q clients`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import worker_shutting_down

from fedkrso_core import redact
from messaging import queues
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.client import ClientProcess

redact.install()
_settings = Settings()
app = Celery("worker")
app.conf.update(queues.settings(_settings.broker_url, _settings.home / "queue"))


@lru_cache
def _process() -> ClientProcess:
    """Made in the process that trains: a prefork parent must never have imported torch."""
    from worker.api import Api
    from worker.client import ClientProcess

    return ClientProcess(Api(_settings.server, _settings.api_key), _settings.home / "worker")


@app.task(name=queues.TRAIN_TASK)  # type: ignore[untyped-decorator]
def train() -> None:
    """A hint that work waits; what it is, the service says."""
    _process().drain()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**kwargs: Any) -> None:
    if _process.cache_info().currsize:
        _process().stop.set()
