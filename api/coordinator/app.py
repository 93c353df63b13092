"""The coordinator's Celery application: `celery -A api.coordinator.app:app worker`."""

from __future__ import annotations

from typing import Any

from celery.signals import setup_logging, worker_process_init, worker_ready

from api.coordinator import ticker
from api.db.session import engine_of
from api.queue import broker, celery_app
from api.settings import settings
from fedkrso_core import __version__
from telemetry import logs, tracing

app = celery_app()
app.conf.include = ["api.coordinator.tasks"]
app.amqp.queues.select([broker().coordinator])


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**kwargs: Any) -> None:
    """That somebody listens to this signal keeps celery from setting up logging itself."""
    logs.configure("coordinator", secrets=settings().secrets())
    tracing.configure("coordinator", __version__)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_ticker(**kwargs: Any) -> None:
    ticker.start()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _prepare(**kwargs: Any) -> None:
    """In a process that a prefork parent has just forked."""
    # the ticker's connections are the parent's: two processes must not talk over one
    engine_of(settings().database).dispose(close=False)
    from fedkrso_core.device import prepare_process

    prepare_process()
