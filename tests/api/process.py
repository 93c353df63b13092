"""What a process keeps for its whole life, and how a test makes it forget that."""

from __future__ import annotations

from api import queue
from api import settings as settings_module
from api.coordinator.advance import store
from api.db.session import engine_of
from api.deps import blob_store
from api.services import rates


def forget() -> None:
    """Empties what a process keeps for its whole life."""
    if queue.celery_app.cache_info().currsize:
        queue.celery_app().close()
    queue.Away.until = 0.0
    if settings_module.settings.cache_info().currsize:
        engine_of(settings_module.settings().database).dispose()
    kept = (settings_module.settings, blob_store, queue.celery_app, queue.broker, store)
    for remembered in (*kept, rates._rates):
        remembered.cache_clear()
    engine_of.cache_clear()
