"""External clients as processes of their own, each with its rows, its key and its state folder."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.flow.conftest import FEDKRSO
from tests.flow.namespaces import Way
from tests.flow.rig import Rig
from tests.flow.tiny import WORDS


def write_rows(path: Path, seed: int, count: int) -> Path:
    """Rows whose code is the colour that their note names."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        code = rng.choice(WORDS[:3])
        rows.append({"note": " ".join([code, *rng.choices(WORDS[3:], k=4)]), "code": code})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class AgentProcess:
    """`fedkrso client enrol` once, and `fedkrso client run` as often as it is started."""

    def __init__(
        self,
        rig: Rig,
        folder: Path,
        name: str,
        rows: Path,
        *words: str,
        way: Way | None = None,
    ) -> None:
        self.name, self._rows, self._words = name, rows, words
        self.home = folder / name
        kept = ("FEDKRSO_SERVER", "FEDKRSO_API_KEY")
        environ = {n: v for n, v in rig.environ.items() if n not in kept}
        self._environ = {**environ, "FEDKRSO_HOME": str(self.home)}
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._way = way
        self._server = rig.url if way is None else way.server

    def enrol(self, token: str) -> None:
        words = ("--server", self._server, "--token", token, "--name", self.name)
        command = self._there(FEDKRSO, "client", "enrol", *words)
        done = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        words = ("--data", str(self._rows), "--text", "note", "--label", "code", *self._words)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._there(FEDKRSO, "client", "run", *words),
                env=dict(self._environ),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _there(self, *words: str) -> list[str]:
        return list(words) if self._way is None else self._way.inside(*words)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal; the exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process = None

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def token(rig: Rig, labels: Mapping[str, str]) -> str:
    """A new invitation's."""
    answer = rig.http.post("/v1/invitations", json={"labels": dict(labels)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def taking(rig: Rig, job_id: str) -> dict[str, Any]:
    """The external clients of a job."""
    answer = rig.http.get(f"/v1/jobs/{job_id}/externals")
    answer.raise_for_status()
    return dict(answer.json())
