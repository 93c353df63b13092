"""The queue: hints that there is work. The database is the truth, so a lost hint is harmless."""

from __future__ import annotations

import logging
from functools import lru_cache

from celery import Celery
from kombu.exceptions import OperationalError

from api.settings import settings
from messaging import queues

_log = logging.getLogger("api.queue")


@lru_cache
def celery_app() -> Celery:
    """The process's Celery application."""
    app = Celery("fedkrso")
    app.conf.update(queues.settings(settings().broker_url, settings().queue_folder))
    return app


def hint_training(count: int) -> None:
    """Tells the clients' workers that so many assignments wait."""
    for _ in range(count):
        _send(queues.TRAIN_TASK)


def hint_advance(job_id: str) -> None:
    """Tells a coordinator to look at a job."""
    _send(queues.ADVANCE_TASK, job_id)


def hint_export(job_id: str, number: int) -> None:
    """Tells a coordinator to build the model folder of a round."""
    _send(queues.EXPORT_TASK, job_id, number)


def hint_collect() -> None:
    """Tells a coordinator to clear away what is kept no longer."""
    _send(queues.COLLECT_TASK)


def _send(task: str, *args: str | int) -> None:
    try:
        celery_app().send_task(task, args=list(args), retry=False)
    except (OperationalError, OSError) as error:
        # the ticker finds the work in the database and announces it again
        _log.warning("no hint %s: the broker does not answer (%s)", task, type(error).__name__)
