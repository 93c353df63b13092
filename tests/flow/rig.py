"""The service's processes one by one, without their supervisor: started, killed and started again.

Each is what `fedkrso up` would start, or the same program with a moment at which it dies.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from api.db import migrate
from api.db.session import engine_of
from cli import plan, ports
from cli.plan import Layout
from cli.process import Command, Process, start
from cli.state import Home
from tests.api.exchange import USER_KEY, WORKER_KEY, as_user

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0


def until(what: Callable[[], Any], doing: str, timeout_s: float = PATIENCE_S) -> Any:
    """What `what` gives as soon as it gives something."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s:.0f} s: {doing}")


class Rig:
    """A state folder and the processes that work on it."""

    def __init__(
        self, home: Path, environ: Mapping[str, str], workers: int = 2, host: str = "127.0.0.1"
    ) -> None:
        self.home = Home(home)
        home.mkdir()
        (home / "api_key").write_text(USER_KEY)
        (home / "worker_key").write_text(WORKER_KEY)
        self.home.prepare()
        self.environ = dict(environ) | {"PYTHONPATH": str(ROOT)}
        port = ports.choose("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{port}"
        layout = Layout(host, port, self.url, workers)
        self.database = plan.database_url(self.home, self.environ)
        self.commands = {c.name: c for c in plan.commands(self.home, layout, self.environ)}
        self.running: dict[str, Process] = {}
        migrate.upgrade(self.database)
        engine_of(self.database).dispose()
        self.http = self.client(as_user())

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.kill(*self.running)

    def start(self, name: str, moment: str | None = None) -> None:
        """Starts a process; with a moment, one that will die then."""
        assert name not in self.running, name
        command = self._command(name)
        if moment is not None:
            python, _, *words = command.arguments
            arguments = (python, "-m", "tests.flow.dying", moment, *words)
            command = replace(command, arguments=arguments)
        self.running[name] = start(command)

    def _command(self, name: str) -> Command:
        """`coordinator2` is one more coordinator, `worker1-prefork` a worker of another pool."""
        if name in self.commands:
            return self.commands[name]
        role, _, pool = name.partition("-")
        like = self.commands[role if pool else role.rstrip("0123456789")]
        words = [w.replace(f"{like.name}@", f"{name}@") for w in like.arguments]
        if pool:
            at = words.index("solo")
            words[at : at + 1] = [pool, "-c", "1"]
        log = like.log.with_name(f"{name}.log")
        return replace(like, name=name, arguments=tuple(words), log=log, preload=not pool)

    def start_all(self, *but: str) -> None:
        """Starts what is not running of the service's processes."""
        for name in self.commands:
            if name not in (*but, *self.running):
                self.start(name)
        self.wait_for_api()

    def wait_for_api(self) -> None:
        """Returns when the API answers."""
        until(self._is_ready, "the API answers")

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=10).is_success
        except httpx.TransportError:
            return False

    def kill(self, *names: str) -> None:
        """SIGKILL to the processes and all that they started, at once."""
        victims = [self.running.pop(name) for name in names]
        for process in victims:
            _kill_group(process)
        for process in victims:
            process.wait()

    def wait_for_death(self, name: str) -> None:
        """Returns when a process has met its moment."""
        process = self.running[name]
        try:
            until(lambda: process.poll() is not None, f"{name} dies")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None
        assert process.poll() == -signal.SIGKILL, self.logs()
        self.kill(name)

    def submit(self, spec: dict[str, Any]) -> str:
        """The id of a new job."""
        answer = self.http.post("/v1/jobs", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def try_to_submit(self, spec: dict[str, Any]) -> None:
        """Submits a job if the API is there; whether it took it may remain unknown."""
        with suppress(AssertionError, httpx.TransportError):
            self.submit(spec)

    def open_jobs(self) -> list[str] | None:
        """The jobs that have not ended; None if the API is away."""
        try:
            states = [self.items(f"/v1/jobs?limit=100&state={s}") for s in ("queued", "running")]
        except httpx.HTTPError:
            return None
        return [job["id"] for page in states for job in page]

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it stands."""
        answer = self.http.get(f"/v1/jobs/{job_id}")
        answer.raise_for_status()
        return dict(answer.json())

    def wait(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended."""
        try:
            return dict(until(lambda: self._ended(job_id), f"job {job_id} ends"))
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.job(job_id)}\n{self.logs()}") from None

    def _ended(self, job_id: str) -> dict[str, Any] | None:
        found = self.job(job_id)
        return None if found["state"] in ("queued", "running") else found

    def client(self, headers: dict[str, str]) -> httpx.Client:
        """HTTP to the API."""
        return httpx.Client(base_url=self.url, headers=headers, timeout=240.0, trust_env=False)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """All that happened to a job."""
        return self.items(f"/v1/jobs/{job_id}/events?format=json")

    def seats(self, job_id: str, number: int) -> list[dict[str, Any]]:
        """The clients of a round; none before it is open."""
        answer = self.http.get(f"/v1/jobs/{job_id}/rounds/{number}/clients")
        return list(answer.json().get("items", []))

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list."""
        answer = self.http.get(path)
        answer.raise_for_status()
        return list(answer.json()["items"])

    def logs(self) -> str:
        """The ends of the logs."""
        files = sorted(self.home.logs.glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-3000:]}" for file in files)


def _kill_group(process: Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


def environ_of(**more: str) -> dict[str, str]:
    """An environment in which the dead are noticed soon; one thread per process."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("FEDKRSO_")}
    quick = {
        "FEDKRSO_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "FEDKRSO_LEASE_S": "3",
        "FEDKRSO_REHINT_S": "1",
        "FEDKRSO_TICK_S": "0.3",
        "FEDKRSO_AGGREGATE_LEASE_S": "3",
    }
    return kept | quick | more
