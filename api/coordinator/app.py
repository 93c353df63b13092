"""The coordinator's Celery application: `celery -A api.coordinator.app:app worker`."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_process_init, worker_ready

from api.coordinator.ticker import Ticker
from api.queue import celery_app
from fedkrso_core import redact

redact.install()
app = celery_app()
app.conf.include = ["api.coordinator.tasks"]


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_ticker(**kwargs: Any) -> None:
    Ticker.start()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _prepare(**kwargs: Any) -> None:
    from fedkrso_core.device import prepare_process

    prepare_process()
