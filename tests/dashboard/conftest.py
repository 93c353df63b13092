"""The fake API behind a real HTTP server, and the dashboard's pages against it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.fake_api import KEY, FakeApi
from tests.dashboard.refusal import Refusal

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
OpenPage = Callable[..., AppTest]


@pytest.fixture
def fake_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A FakeApi that listens on a free port, where the dashboard's settings point."""
    fake = FakeApi()
    server = serve(fake, 0)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("FEDKRSO_SERVER", fake.url)
    monkeypatch.setenv("FEDKRSO_API_KEY", KEY)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def open_page(fake_api: FakeApi) -> OpenPage:
    """Opens a page ("screens/job.py") with a query, as a browser would, against the fake API."""
    assert fake_api.url

    def open_at(page: str = "", **query: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=15)
        for name, value in query.items():
            app.query_params[name] = value
        if page:
            app.switch_page(page)
        return app.run()

    return open_at


def serve(fake: FakeApi, port: int) -> ThreadingHTTPServer:
    """Starts a server thread that answers from `fake`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def do_PUT(self) -> None:
            self._respond()

        def do_DELETE(self) -> None:
            self._respond()

        def do_PATCH(self) -> None:
            self._respond()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def _respond(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                if self.path.startswith("/store/"):
                    assert "Authorization" not in self.headers
                key = str(self.headers["Authorization"]).removeprefix("Bearer ")
                is_json = not self.path.startswith("/v1/uploads?")
                given = json.loads(text or "{}") if is_json or not text else {"raw": text}
                status, body = fake.answer(self.command, self.path, given, key)
            except Refusal as refusal:
                status, body = refusal.status, refusal.body
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Retry-After", "0.1")
            if status == 307:
                self.send_header("Location", f"{fake.url}/store/model.zip?signature=abc")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    return server
