from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

Make = Callable[..., dict[str, Any]]
Fedkrso = Callable[..., Result]


def test_delete_asks_first(fedkrso: Fedkrso, api: Any, make_job: Make) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job())
    api.on("DELETE /v1/jobs/0a1b2c3d", b"", 204)
    kept = fedkrso("delete", "0a1b2c3d", typed="n\n")
    assert kept.exit_code == 1
    assert [asked.method for asked in api.asked] == ["GET"]
    gone = fedkrso("delete", "0a1b2c3d", typed="y\n")
    assert gone.exit_code == 0
    assert gone.stdout.endswith("0a1b2c3d  demo  done: deleted\n")
    assert api.asked[-1].method == "DELETE"


def test_delete_with_yes_does_not_ask(fedkrso: Fedkrso, api: Any, make_job: Make) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job())
    api.on("DELETE /v1/jobs/0a1b2c3d", b"", 204)
    assert json.loads(fedkrso("delete", "0a1b2c3d", "--yes", "--json").stdout) == {
        "deleted": "0a1b2c3d"
    }


def test_a_job_that_has_not_ended_is_not_deleted(
    fedkrso: Fedkrso, api: Any, make_job: Make
) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job(state="running"))
    api.problem("DELETE /v1/jobs/0a1b2c3d", 409, "job 0a1b2c3d is running: cancel it first", [])
    refused = fedkrso("delete", "0a1b2c3d", "--yes")
    assert refused.exit_code == 1
    assert "cancel it first" in refused.stderr
