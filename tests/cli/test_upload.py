from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Fedkrso = Callable[..., Result]


def test_upload_sends_the_file_and_prints_its_source(
    fedkrso: Fedkrso, api: Any, tmp_path: Path
) -> None:
    source, rows = f"upload:{'0' * 64}.csv", b"text,label\na,x\n"
    (tmp_path / "rows.csv").write_bytes(rows)
    api.on("POST /v1/uploads", {"source": source, "rows": 1}, 201)
    done = fedkrso("upload", tmp_path / "rows.csv", "--project", "reviews")
    assert (done.exit_code, done.stdout) == (0, f"{source}\n")
    asked = api.asked[0]
    assert (asked.path, asked.body) == ("/v1/uploads?name=rows.csv&project=reviews", rows)
    assert asked.headers["Content-Length"] == str(len(rows))
    whole = fedkrso("upload", tmp_path / "rows.csv", "--json")
    assert json.loads(whole.stdout) == {"source": source, "rows": 1}


def test_upload_says_why_a_file_was_refused(fedkrso: Fedkrso, api: Any, tmp_path: Path) -> None:
    assert fedkrso("upload", "away.csv").exit_code == 1
    (tmp_path / "rows.csv").write_bytes(b"")
    api.problem("POST /v1/uploads", 422, "rows.csv has no rows", [])
    done = fedkrso("upload", "rows.csv")
    assert (done.exit_code, done.stderr) == (1, "rows.csv has no rows\n")
