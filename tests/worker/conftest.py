"""A fake service behind a real HTTP server, and a client that talks to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import pytest

from tests.worker.fake_service import FakeService, handler_of
from worker.api import Api


@pytest.fixture
def service() -> Iterator[FakeService]:
    with served() as made:
        yield made


@pytest.fixture
def blob_store() -> Iterator[FakeService]:
    """Another host, to which downloads are sent."""
    with served() as made:
        yield made


@contextmanager
def served() -> Iterator[FakeService]:
    made = FakeService()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(made))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def api(service: FakeService) -> Iterator[Api]:
    made = Api(service.url, "fk_worker", give_up_s=0.6)
    yield made
    made.close()
