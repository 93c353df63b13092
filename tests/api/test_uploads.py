"""Rows that users upload: who may, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api import settings as settings_module
from api.db.session import reading
from api.db.tables import Audit
from api.settings import Settings
from tests.api import people
from tests.api.sending import ROWS, SOURCE, accepted, blobs, refused, send


@pytest.fixture
def tight(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_ROWS_LIMIT_BYTES", "20")
    settings_module.settings.cache_clear()


def test_an_upload_is_named_by_its_bytes_and_told_what_it_holds(client: TestClient) -> None:
    made = accepted(client)
    told = {"source": SOURCE, "name": "rows.jsonl", "size": len(ROWS), "rows": 2}
    assert made | told == made
    assert (made["columns"], made["project"], made["user"]) == (
        ["text", "label"],
        "default",
        "admin",
    )
    assert client.get("/v1/uploads").json() == {"items": [made]}


def test_the_same_bytes_again_are_answered_as_the_first_time(
    client: TestClient, engine: Engine
) -> None:
    made = accepted(client)
    assert accepted(client, name="another name.jsonl") == made
    assert len(client.get("/v1/uploads").json()["items"]) == 1
    assert len(blobs(engine)) == 1


def test_the_same_rows_as_another_kind_of_file_are_another_upload(client: TestClient) -> None:
    rows = b"text,label\na,x\n"
    one, other = (accepted(client, rows, name=f"rows{end}") for end in (".csv", ".tsv"))
    assert one["columns"] == ["text", "label"]
    assert other["columns"] == ["text,label"]


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (b"not json\n", "notes.jsonl", "notes.jsonl cannot be read as .jsonl: line 1 is not JSON"),
        (b"", "rows.csv", "rows.csv has no rows"),
        (b"a,b\n1\n", "rows.csv", "rows.csv cannot be read as .csv: line 2 has 1 values"),
        (b"\xff\xfe\x00", "rows.tsv", "rows.tsv cannot be read as .tsv"),
        (b"no zip", "rows.jsonl.gz", "rows.jsonl.gz cannot be read as .jsonl.gz"),
        (b"PAR1", "rows.parquet", "rows.parquet cannot be read as .parquet"),
        (ROWS, "rows.txt", "name is 'rows.txt'; allowed: a file ending in .jsonl, .jsonl.gz"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    client: TestClient,
    settings: Settings,
    engine: Engine,
    content: bytes,
    name: str,
    told: str,
) -> None:
    assert told in refused(send(client, content, name), 422)
    assert client.get("/v1/uploads").json() == {"items": []}
    assert list(settings.home.glob("uploads/*")) == list(settings.blob_folder.glob("parts/*")) == []
    assert blobs(engine) == set()


@pytest.mark.parametrize("name", ["", "../rows.jsonl", "a\\rows.jsonl", "a\nb.jsonl"])
def test_a_name_is_that_of_a_file_alone(client: TestClient, name: str) -> None:
    assert send(client, name=name).status_code == 422


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("declared", [True, False])
def test_a_file_above_the_limit_is_refused_with_the_limit(
    client: TestClient, settings: Settings, declared: bool
) -> None:
    content: Any = ROWS if declared else iter([ROWS[:15], ROWS[15:]])
    assert refused(send(client, content), 413) == "the body is larger than 20 bytes"
    assert list(settings.blob_folder.glob("parts/*")) == []


def test_a_disk_without_room_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.services.room.free_bytes", lambda _: 10)
    assert "no room on the service's disk" in refused(send(client), 507)


def test_viewers_may_look_and_operators_upload(client: TestClient, engine: Engine) -> None:
    viewer = people.bearer(people.user(engine, "v", "viewer", "default"))
    operator = people.bearer(people.user(engine, "o", "operator", "default"))
    assert send(client, headers=viewer).status_code == 403
    assert accepted(client, headers=operator)["user"] == "o"
    items = client.get("/v1/uploads", headers=viewer).json()["items"]
    assert [item["source"] for item in items] == [SOURCE]
    assert client.delete(f"/v1/uploads/{SOURCE}", headers=viewer).status_code == 403


def test_uploads_and_deletions_are_in_the_audit_log(client: TestClient, engine: Engine) -> None:
    accepted(client)
    client.delete(f"/v1/uploads/{SOURCE}")
    with reading(engine) as session:
        lines = [
            (line.action, line.target, line.project, line.detail, line.outcome)
            for line in session.query(Audit).order_by(Audit.id)
        ]
    assert lines == [
        ("uploads.create", SOURCE, "default", "rows.jsonl", "ok"),
        ("uploads.delete", SOURCE, "default", None, "ok"),
    ]
