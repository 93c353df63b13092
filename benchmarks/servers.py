"""What the benchmarks of the service share: databases of their own, one API process, memory."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg

USER_KEY, WORKER_KEY = "fk_user_benchmark", "fk_worker_benchmark"
POSTGRES = os.environ.get("TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
REDIS = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379/12")

KEEP_ALIVE_S = "75"  # as in `fedkrso up`


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty, migrated database: `sqlite` in the folder, or `postgresql`."""
    from api.db.migrate import upgrade

    if kind == "sqlite":
        url = f"sqlite:///{folder / 'fedkrso.db'}"
        upgrade(url)
        yield url
        return
    name = f"fedkrso_bench_{secrets.token_hex(6)}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    try:
        url = f"{POSTGRES.replace('postgresql://', 'postgresql+psycopg://')}/{name}"
        upgrade(url)
        yield url
    finally:
        with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a process of the service: this one's without its settings, and one thread."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("FEDKRSO_")}
    own = {"FEDKRSO_HOME": str(home), "FEDKRSO_THREADS": "1", "OMP_NUM_THREADS": "1"}
    own["FEDKRSO_LOG_LEVEL"] = "warning"
    return kept | own | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | more


@contextmanager
def api(environ: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """One API process with both keys; gives its address and its pid."""
    keys = {"FEDKRSO_BOOTSTRAP_API_KEY": USER_KEY, "FEDKRSO_BOOTSTRAP_WORKER_KEY": WORKER_KEY}
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "api.main:app", "--port", str(port)]
    quiet = ("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "1",
             "--timeout-keep-alive", KEEP_ALIVE_S)  # fmt: skip
    process = subprocess.Popen([*command, *quiet], env=dict(environ) | keys)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], limit_s: float = 120.0) -> None:
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False).is_success:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    else:
        raise SystemExit(f"{url} does not get ready")
    # what loads in the background is there when the methods are
    key = {"Authorization": f"Bearer {USER_KEY}"}
    httpx.get(f"{url}/v1/methods", headers=key, timeout=limit_s, trust_env=False).raise_for_status()


class PeakMemory:
    """Peak of the PSS of a process and all that it started, sampled every 0.2 s.

    PSS shares a page among those who have it mapped; the sum over a tree counts nothing twice.
    """

    def __init__(self, pid: int) -> None:
        self.bytes, self.processes = 0, 0
        self._root, self._done = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.2):
            found = [_pss(process) for process in _tree(self._root)]
            self.bytes = max(self.bytes, sum(found))
            self.processes = max(self.processes, len(found))


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has just ended
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
