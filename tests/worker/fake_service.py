"""A real HTTP server that gives prepared answers, one after the other, the last one for ever."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    reset: bool = False  # the connection breaks instead
    cut: int | None = None  # the connection breaks after so many bytes of the body
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeService:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    received: int = 0  # what it says to have of an update, whenever it is asked

    def gives(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def take(self, asked: Asked) -> Answer:
        if asked.method == "GET" and asked.path.endswith("/update"):
            return ok({"received": self.received})
        self.asked.append(asked)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ok(body: Any = None) -> Answer:
    return Answer(body=body if isinstance(body, bytes) else json.dumps(body or {}).encode())


def elsewhere(link: str) -> Answer:
    return Answer(307, headers={"Location": link})


def problem(status: int, detail: str) -> Answer:
    return Answer(status, json.dumps({"detail": detail}).encode())


BROKEN = Answer(reset=True)


def handler_of(service: FakeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = service.take(Asked(self.command, self.path, dict(self.headers), body))
            if answer.reset:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        do_GET: Callable[..., None] = _answer
        do_POST: Callable[..., None] = _answer
        do_PUT: Callable[..., None] = _answer

        def log_message(self, *_: object) -> None:
            pass

    return Handler
