"""What a process keeps for its whole life, and how a test makes it forget that."""

from __future__ import annotations

from api import settings as settings_module
from api.coordinator.advance import store
from api.db.session import engine_of
from api.deps import blob_store
from api.queue import celery_app


def forget() -> None:
    """Empties what a process keeps for its whole life."""
    if celery_app.cache_info().currsize:
        celery_app().close()
    if settings_module.settings.cache_info().currsize:
        engine_of(settings_module.settings().database).dispose()
    for kept in (settings_module.settings, blob_store, celery_app, store):
        kept.cache_clear()
    engine_of.cache_clear()
