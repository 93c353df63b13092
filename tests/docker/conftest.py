"""The service as the tests of the API have it."""

from __future__ import annotations

from tests.api.conftest import (  # noqa: F401 - pytest finds fixtures by their names here
    client,
    database_url,
    dataset_cache,
    engine,
    house,
    postgres_database,
    settings,
    sqlite_template,
)
