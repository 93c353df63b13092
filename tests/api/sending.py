"""Uploading rows as a user's program does it."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.db.session import reading
from api.db.tables import Blob

Json = dict[str, Any]
ROWS = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
SOURCE = f"upload:{hashlib.sha256(ROWS).hexdigest()}.jsonl"


def send(client: TestClient, content: bytes = ROWS, name: str = "rows.jsonl", **more: Any) -> Any:
    headers, project = more.pop("headers", None), more.pop("project", None)
    params = {"name": name} | ({"project": project} if project else {})
    return client.post("/v1/uploads", content=content, params=params, headers=headers)


def accepted(client: TestClient, content: bytes = ROWS, **more: Any) -> Json:
    answer = send(client, content, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


def blobs(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return {row.digest for row in session.query(Blob)}
