"""Servers of a test's own, which it may kill: PostgreSQL, Redis; and a virtual host of RabbitMQ."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import redis

from tests.flow.rig import until

RABBITMQ = ("127.0.0.1", 5672)


def missing(what: str) -> None:
    """Skips the test, or fails it where everything has to be there."""
    if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
        pytest.fail(what)
    pytest.skip(what)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Redis:
    """A Redis that keeps nothing on disk: when it is started again it is empty."""

    def __init__(self) -> None:
        found = shutil.which("redis-server")
        if found is None:
            missing("redis-server is not installed")
        self._program, self.port = str(found), free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = (
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        )
        self._process = subprocess.Popen([self._program, *words], stdout=subprocess.DEVNULL)
        until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as server:
            return bool(server.ping())
        return False

    def kill(self) -> None:
        """SIGKILL; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Postgres:
    """A PostgreSQL cluster of its own, run by a user who may: the server refuses root."""

    def __init__(self) -> None:
        self._bin = self._programs()
        # not among the tests' folders: those are for root alone
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="fedkrso-postgres-")), free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")

    @staticmethod
    def _programs() -> Path:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        on_path = shutil.which("initdb")
        if not found and on_path is None:
            missing("PostgreSQL's server is not installed")
        return (found[-1] if found else Path(str(on_path))).parent

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as, str(self._bin / program), "-D", str(self.folder), *words]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self._run("pg_ctl", "-o", options, "-l", str(self.folder / "log"), "-w", "start")
        with psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=10) as connection:
            connection.execute("SELECT 1")

    def stop_at_once(self) -> None:
        """As after a power cut: no checkpoint, the log is replayed at the next start."""
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def end(self) -> None:
        """Stops it if it runs, and removes it."""
        with suppress(AssertionError):
            self.stop_at_once()
        shutil.rmtree(self.folder)


@contextmanager
def virtual_host() -> Iterator[tuple[str, str]]:
    """(its name, its URL): a virtual host of the local RabbitMQ, deleted afterwards."""
    try:
        socket.create_connection(RABBITMQ, timeout=3).close()
    except OSError as error:
        missing(f"RabbitMQ does not answer at {RABBITMQ[0]}:{RABBITMQ[1]}: {error}")
    if shutil.which("rabbitmqctl") is None:
        missing("rabbitmqctl is not there to make a virtual host")
    name = f"fedkrso-test-{secrets.token_hex(6)}"
    rabbitmqctl("add_vhost", name)
    try:
        rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield name, f"amqp://guest:guest@{RABBITMQ[0]}:{RABBITMQ[1]}/{name}"
    finally:
        rabbitmqctl("delete_vhost", name)


def rabbitmqctl(*words: str) -> str:
    """What the command says; skips where one may not use it."""
    command = ["rabbitmqctl", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        missing(f"rabbitmqctl {words[0]}: {done.stderr.strip()[:300]}")
    return done.stdout


def maps(pid: int) -> str:
    """What a process has mapped into its memory."""
    return Path(f"/proc/{pid}/maps").read_text()
