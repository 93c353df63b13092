"""A worker on another machine: a process of its own with a state folder of its own.

python -m tests.api.elsewhere SERVER KEY FOLDER    drains the service for each line of stdin
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]


class Elsewhere:
    """Drains a service as ClientProcess does."""

    def __init__(self, server: str, key: str, home: Path) -> None:
        words = [server, key, str(home / "worker")]
        kept = {name: v for name, v in os.environ.items() if not name.startswith("FEDKRSO_")}
        given = {"FEDKRSO_HOME": str(home), "FEDKRSO_THREADS": "1", "FEDKRSO_DEVICE": "cpu"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.api.elsewhere", *words],
            cwd=ROOT,
            env=kept | given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def drain(self) -> None:
        """Works until nothing waits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("drain", file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "drained\n"


def main(server: str, key: str, folder: str) -> None:
    from worker.api import Api
    from worker.client import ClientProcess

    process = ClientProcess(Api(server, key, give_up_s=5), Path(folder))
    for _ in sys.stdin:
        process.drain()
        print("drained", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
