"""Who may import whom, and what must not be imported early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_import_contract_is_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("api.main", ["torch", "transformers", "datasets"]),
        ("api.coordinator.ticker", ["torch"]),
        ("worker.tasks", ["torch", "transformers", "datasets", "sqlalchemy", "fastapi"]),
        ("worker.api", ["torch", "sqlalchemy", "fastapi"]),
        ("cli.main", ["torch", "transformers", "sqlalchemy"]),
        ("dashboard.api_client", ["torch", "fedkrso_core", "sqlalchemy"]),
        ("fedkrso_core.spec", ["torch", "numpy"]),
        ("fedkrso_core.expect", ["torch"]),
    ],
)
def test_a_module_starts_without_what_it_does_not_need(
    module: str, unwanted: list[str], tmp_path: Path
) -> None:
    code = f"import sys, {module}\nprint([name for name in {unwanted!r} if name in sys.modules])\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"FEDKRSO_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
