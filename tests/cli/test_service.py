from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from cli import service
from cli.errors import CliError
from cli.interrupts import Interrupts
from cli.plan import Layout
from cli.ports import choose
from cli.process import Command
from cli.service import Wanted, serving
from cli.state import AlreadyServed, Home

READY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
WANTED = Wanted(port=0, dashboard=False)


def fake_plan(home: Home, layout: Layout, environ: Mapping[str, str]) -> list[Command]:
    arguments = (sys.executable, "-c", READY, str(layout.port))
    return [Command("api", arguments, environ, home.logs / "api.log", home.path)]


def broken_plan(home: Home, layout: Layout, environ: Mapping[str, str]) -> list[Command]:
    assert layout.workers == 2
    arguments = (sys.executable, "-c", "raise SystemExit('table jobs is missing')")
    return [Command("api", arguments, environ, home.logs / "api.log", home.path)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_service_answers_inside_and_is_gone_outside(home: Home, said: list[str]) -> None:
    migrated: list[str] = []
    with serving(home, WANTED, said.append, fake_plan, migrated.append) as server:
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
        assert home.server() == server
        assert server.pid == os.getpid()
        assert migrated == [home.database_url]
    assert home.server() is None
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)


AWAY = OperationalError("SELECT 1", {}, Exception("connection refused\nIs the server running?"))


def test_a_database_that_is_still_starting_is_waited_for(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DATABASE_PAUSE_S", 0.0)
    answers = iter([AWAY, AWAY])

    def prepare(_url: str) -> None:
        for error in answers:
            raise error

    service.patiently(prepare, "postgresql://host/name", said.append)
    assert said == ["waiting for the database: connection refused"] * 2


@pytest.mark.parametrize("url", ["postgresql://host/name", "sqlite:////nowhere/fedkrso.db"])
def test_a_database_that_does_not_come_is_one_readable_line(url: str, said: list[str]) -> None:
    def prepare(_url: str) -> None:
        raise AWAY

    with pytest.raises(CliError, match=r"the database does not answer: connection refused$"):
        service.patiently(prepare, url, said.append, wait_s=0.0)
    assert said == []


def test_a_second_service_on_the_same_folder_is_refused(home: Home, said: list[str]) -> None:
    with serving(home, WANTED, said.append, fake_plan, said.append) as server:
        second = serving(home, WANTED, said.append, fake_plan, said.append)
        with pytest.raises(AlreadyServed, match=f"already served at {server.url}"):
            second.__enter__()
        assert home.server() == server


def test_a_taken_port_is_replaced_and_it_is_said(home: Home, said: list[str]) -> None:
    first = choose("127.0.0.1", 0)
    with serving(home, Wanted(port=first, dashboard=False), said.append, fake_plan, said.append):
        other = Home(home.path.with_name("other"))
        wanted = Wanted(port=first, dashboard=False)
        with serving(other, wanted, said.append, fake_plan, said.append) as server:
            port = server.url.rsplit(":", 1)[1]
            assert f"port {first} is taken; using {port}" in said


def test_a_service_that_cannot_start_shows_the_end_of_the_log(home: Home, said: list[str]) -> None:
    with (
        pytest.raises(CliError) as caught,
        serving(home, WANTED, said.append, broken_plan, said.append),
    ):
        pass
    assert caught.value.lines[0] == f"api does not start; the end of {home.logs / 'api.log'}:"
    assert caught.value.lines[-1] == "table jobs is missing"


def test_nothing_starts_if_the_database_cannot_be_prepared(home: Home, said: list[str]) -> None:
    def fail(_: str) -> None:
        raise CliError("the database is newer than this program")

    with (
        pytest.raises(CliError, match="newer than this program"),
        serving(home, WANTED, said.append, fake_plan, fail),
    ):
        pass
    assert not (home.logs / "api.log").exists()


def test_no_key_is_ever_said(home: Home, said: list[str]) -> None:
    with serving(home, WANTED, said.append, fake_plan, said.append):
        pass
    assert not any("fk_" in line for line in said)


UP = """
import sys
from cli import commands, service
from cli.process import Command

def plan(home, layout, environ):
    words = (sys.executable, "-c", {ready!r}, str(layout.port))
    stubborn = (sys.executable, "-c", "import signal, time\\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(60)")
    return [
        Command("api", words, environ, home.logs / "api.log", home.path, 3),
        Command("worker1", stubborn, environ, home.logs / "worker1.log", home.path),
    ]

real = service.serving
commands.serving = lambda home, wanted, say: real(home, wanted, say, plan, lambda url: None)
commands.up(service.Wanted(port=0, dashboard=False))
"""


def test_up_stops_on_a_signal_and_at_once_on_the_second(home: Home) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", UP.format(ready=READY)],
        env=os.environ | {"FEDKRSO_HOME": str(home.path)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line == "Ctrl-C stops everything\n" for line in lines)
        server = home.server()
        assert server is not None
        process.terminate()
        # a signal in the middle of a print may repeat that line
        said = next(line for line in lines if line != "Ctrl-C stops everything\n")
        assert said.startswith("stopping")
        began = time.monotonic()
        process.terminate()
        assert next(lines) == "stopped\n"
        assert process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert home.server() is None
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_the_second_hurries(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    hurried = threading.Event()
    with Interrupts(hurried.set):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert not hurried.is_set()
        os.kill(os.getpid(), number)
        assert hurried.is_set()
    assert signal.getsignal(number) == before
