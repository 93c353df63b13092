"""Celery's door to the client: `celery -A worker.tasks:app worker`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import setup_logging, worker_process_shutdown, worker_shutting_down

from fedkrso_core import __version__
from messaging import queues
from telemetry import logs, tracing
from telemetry.redact import passwords
from worker.settings import Settings
from worker.stop import Stop

if TYPE_CHECKING:
    from worker.client import ClientProcess

_settings = Settings()
_broker = _settings.broker
app = Celery("worker")
app.conf.update(_broker.settings())
# what a long life leaves behind in a process that trains; a hint may mean many assignments
app.conf.worker_max_tasks_per_child = 50
app.amqp.queues.select([_broker.clients])
_stop = Stop()  # before the first fork: the signal reaches a prefork parent alone


@lru_cache
def _process() -> ClientProcess:
    """Made in the process that trains: a prefork parent must never have imported torch."""
    from worker.api import Api
    from worker.client import ClientProcess

    api = Api(_settings.server, _settings.api_key, stop=_stop)
    return ClientProcess(api, _settings.home / "worker", _stop, _settings.client_memory)


@app.task(name=queues.TRAIN_TASK)  # type: ignore[untyped-decorator]
def train() -> None:
    """A hint that work waits; what it is, the service says."""
    # no hint is worked on for longer than the broker, or a prefork parent, has patience
    if not _process().drain(_broker.longest_task_s / 4):
        train.delay()


@app.task(name=queues.FORGET_TASK)  # type: ignore[untyped-decorator]
def forget() -> None:
    """A hint that jobs were deleted of which something may lie here; which, the service says."""
    _process().forget_gone()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**kwargs: Any) -> None:
    """That somebody listens to this signal keeps celery from setting up logging itself."""
    secrets = [_settings.api_key, *passwords(_settings.broker_url)]
    logs.configure("worker", secrets=secrets)
    tracing.configure("worker", __version__)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _say_goodbye(**kwargs: Any) -> None:
    tracing.flush()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _end(**kwargs: Any) -> None:
    _stop.set()
