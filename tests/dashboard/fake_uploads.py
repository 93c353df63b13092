"""Uploaded rows of the fake server, in memory."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from api.upload_schemas import UploadOut, Uploads
from tests.dashboard.canned import START
from tests.dashboard.refusal import Refusal

Json = dict[str, Any]


class FakeUploads:
    """Takes JSON lines; a body that was no JSON document is `raw`."""

    def __init__(self) -> None:
        self.items: list[Json] = []

    def answer(self, body: Json, query: Json) -> tuple[int, Any]:
        """The list, or what a file that was sent holds."""
        if "raw" not in body:
            return 200, Uploads.model_validate({"items": self.items}).model_dump(mode="json")
        project = query.get("project", "default")
        self.items.append(upload(body["raw"], query["name"], project))
        return 201, UploadOut.model_validate(self.items[-1]).model_dump(mode="json")


def upload(content: bytes, name: str, project: str = "default") -> Json:
    """What the service says of a file."""
    try:
        rows = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        raise Refusal(422, f"{name} cannot be read as .jsonl: line 1 is not JSON") from None
    return {
        "source": f"upload:{hashlib.sha256(content).hexdigest()}.jsonl",
        "project": project,
        "name": name,
        "size": len(content),
        "rows": len(rows),
        "columns": list(rows[0]),
        "created_at": START.isoformat(),
    }
