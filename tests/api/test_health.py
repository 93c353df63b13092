from __future__ import annotations

import shutil

import pytest
from fastapi.testclient import TestClient

from api.db.session import engine_of
from api.db.tables import Table
from api.settings import Settings


def test_a_service_with_database_and_blobs_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == {
        "status": "ok",
        "checks": {"database": "ok", "blobs": "ok"},
    }


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_without_tables_is_not_ready(client: TestClient, settings: Settings) -> None:
    Table.metadata.drop_all(engine_of(settings.database))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "database: OperationalError"
    assert client.get("/healthz").status_code == 200


def test_missing_blobs_are_named(client: TestClient, settings: Settings) -> None:
    client.get("/readyz")
    shutil.rmtree(settings.blob_folder)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "blobs: the folder is missing"
