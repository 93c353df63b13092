"""A small real HTTP server with canned answers, and the command pointed at it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

Json = dict[str, Any]


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeApi:
    """Gives the answers of each route one after the other; the last one for ever."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def on(
        self,
        route: str,
        body: Any,
        status: int = 200,
        kind: str = "application/json",
        **headers: str,
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Answer(status, data, {"Content-Type": kind, **named})
        self.answers.setdefault(route, []).append(answer)

    def problem(self, route: str, status: int, detail: str, errors: list[Json]) -> None:
        body = {"type": "t", "title": "T", "status": status, "detail": detail, "errors": errors}
        self.on(route, body, status, "application/problem+json")

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        route = f"{asked.method} {asked.path}"
        prepared = self.answers.get(route) or self.answers.get(route.split("?")[0])
        if not prepared:
            return Answer(404, b'{"detail": "not there"}', {})
        return prepared.pop(0) if len(prepared) > 1 else prepared[0]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                asked = Asked(self.command, self.path, dict(self.headers.items()), body)
                answer = api.answer(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler())
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that is not there yet, and nothing else set."""
    path = tmp_path / "home"
    for name in ("SERVER", "API_KEY", "DEBUG", "DATABASE_URL", "THREADS"):
        monkeypatch.delenv(f"FEDKRSO_{name}", raising=False)
    monkeypatch.delenv("DEMO_EXIT", raising=False)
    monkeypatch.setenv("FEDKRSO_HOME", str(path))
    return path


@pytest.fixture
def fedkrso(
    api: FakeApi, home_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command in an empty folder, talking to the fake API."""
    from cli.main import app

    assert not home_path.exists()
    monkeypatch.setenv("FEDKRSO_SERVER", api.url)
    monkeypatch.setenv("FEDKRSO_API_KEY", "fk_test")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, typed="": CliRunner().invoke(
        app, [str(word) for word in arguments], input=typed
    )


@pytest.fixture
def make_job() -> Callable[..., Json]:
    def make(**changed: Any) -> Json:
        job = {
            "id": "0a1b2c3d",
            "name": "demo",
            "project": "default",
            "state": "done",
            "reason": None,
            "waiting_for": None,
            "method": "fedkrso",
            "model": "minilm",
            "rounds": 2,
            "rounds_closed": 2,
            "metrics": {"accuracy": 0.625},
            "bytes_up": 1_500_000,
            "bytes_down": 2_500_000,
            "peak_memory_bytes": 300_000_000,
            "created_at": "2026-01-01T00:00:00Z",
            "model_sha256": "ab" * 32,
            "spec": {},
        }
        return job | changed

    return make


@pytest.fixture
def make_round() -> Callable[..., Json]:
    def make(number: int, **changed: Any) -> Json:
        round_ = {
            "round": number,
            "state": "closed",
            "metrics": {"accuracy": 0.5 + number / 8, "loss": 1.25},
            "bytes_up": 750_000,
            "bytes_down": 1_250_000,
            "peak_memory_bytes": 300_000_000,
            "seconds": {"train": 2.0, "aggregate": 0.5, "evaluate": 1.0},
            "clients": [0, 1],
            "done": 2,
        }
        return round_ | changed

    return make


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """A job that the commands are given."""
    path = tmp_path / "job.yaml"
    path.write_text("name: demo\nrounds: 2\ndata: {train: rows.csv}\n")
    return path
