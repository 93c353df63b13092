"""The real service in processes of its own, and a model and data small enough to be quick."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flow import tiny
from tests.flow.proof import Undisturbed
from tests.flow.tiny import WORDS

FEDKRSO = str(Path(sys.executable).with_name("fedkrso"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer encoder of random weights with a real fast tokenizer."""
    return tiny.tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose label is the colour that they name."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    rows = []
    for _ in range(300):
        label = rng.choice(WORDS[:3])
        rows.append({"text": " ".join([label, *rng.choices(WORDS[3:], k=4)]), "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tiny_job(model: Path, data: Path) -> dict[str, Any]:
    """A job that takes seconds."""
    return {
        "name": "tiny",
        "model": str(model),
        "data": {"train": str(data)},
        "partition": {"kind": "dirichlet", "alpha": 0.5},
        "clients": {"count": 4, "per_round": 3},
        "rounds": 3,
        "local": {"steps": 20, "batch_size": 8, "max_length": 16, "lr": 5e-3},
        "method": {"name": "fedkrso", "rank": 4, "seeds": 4, "interval": 5},
    }


@pytest.fixture
def job(tiny_model: Path, tiny_data: Path) -> dict[str, Any]:
    """A job that takes seconds."""
    return tiny_job(tiny_model, tiny_data)


@dataclass(frozen=True)
class Service:
    """A running `fedkrso up` and how to reach it."""

    home: Path
    url: str
    dashboard: str | None
    process: subprocess.Popen[str]
    environ: dict[str, str]

    def client(self) -> httpx.Client:
        key = (self.home / "api_key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=180.0)

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        return fedkrso(self.environ, *words)

    def wait(self, job_id: str, timeout_s: float = 300.0) -> dict[str, Any]:
        """The job when it has ended."""
        end = time.monotonic() + timeout_s
        with self.client() as http:
            while time.monotonic() < end:
                found: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").json()
                if found["state"] not in ("queued", "running", "paused"):
                    return found
                time.sleep(0.2)
        raise AssertionError(f"job {job_id} did not end: {found}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in (self.home / "logs").glob("*.log"))


def fedkrso(
    environ: dict[str, str], *words: str, timeout_s: float = 280
) -> subprocess.CompletedProcess[str]:
    """Runs the command and gives what it printed."""
    command = [FEDKRSO, *words]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.fixture(scope="session")
def run_fedkrso() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command in an environment."""
    return fedkrso


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with a state folder of its own and one thread per process."""
    return environment_of(tmp_path / "home")


def environment_of(home: Path) -> dict[str, str]:
    """An environment whose state folder is `home`, with one thread per process."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("FEDKRSO_")}
    return kept | {
        "FEDKRSO_HOME": str(home),
        "FEDKRSO_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }


Up = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def up(environ: dict[str, str]) -> Up:
    """Starts the service; whatever happens, it is stopped at the end."""

    def start(*words: str, **more: str) -> AbstractContextManager[Service]:
        return started(environ | more, *words)

    return start


@contextmanager
def started(env: dict[str, str], *words: str) -> Iterator[Service]:
    """The service in an environment; whatever happens, it is stopped at the end."""
    home = Path(env["FEDKRSO_HOME"])
    process = subprocess.Popen(
        [FEDKRSO, "up", "--port", "0", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        server = _announced(home, process)
        yield Service(home, server["url"], server["dashboard"], process, env)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _announced(home: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    for _ in range(3000):
        if process.poll() is not None:
            raise AssertionError(f"up ended: {process.communicate()[0]}")
        if (home / "server.json").exists():
            return json.loads((home / "server.json").read_text())  # type: ignore[no-any-return]
        time.sleep(0.1)
    raise AssertionError("up was not ready within 300 s")


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[dict[str, Any]], Undisturbed]:
    """Runs a job in this process as `fedkrso run` does, the same job once."""
    from fedkrso_core import simulate
    from fedkrso_core.spec import parse

    known: dict[str, Undisturbed] = {}

    def run(spec: dict[str, Any]) -> Undisturbed:
        text = json.dumps(spec)
        if text not in known:
            folder, rounds = tmp_path_factory.mktemp("undisturbed"), []
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FEDKRSO_HOME", str(folder / "home"))
                patch.setenv("FEDKRSO_THREADS", "1")
                summary = simulate.run(parse(spec), folder / "run", rounds.append)
            known[text] = Undisturbed(json.loads(text), summary, rounds)
        return known[text]

    return run


@pytest.fixture
def undisturbed_job(
    job: dict[str, Any], undisturbed: Callable[[dict[str, Any]], Undisturbed]
) -> Undisturbed:
    """The tiny job and what it comes to alone, to compare with those that are disturbed."""
    return undisturbed(job)
