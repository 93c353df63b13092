"""Several processes of the API behind one port: their counters are added up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api import databases
from tests.api.scrape import METRICS_KEY, Scrape, bearer, parsed

pytestmark = pytest.mark.slow
ASKED = 40


@pytest.fixture
def service(sqlite_template: Path, tmp_path: Path) -> Iterator[str]:
    """The address of two processes that share a folder for their counters."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = tmp_path / "counters"
    shared.mkdir()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FEDKRSO_")},
        "FEDKRSO_HOME": str(tmp_path),
        "FEDKRSO_DATABASE_URL": databases.copy_of_sqlite(sqlite_template, tmp_path / "test.db"),
        "FEDKRSO_METRICS_KEY": METRICS_KEY,
        "PROMETHEUS_MULTIPROC_DIR": str(shared),
    }
    listen = ("--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--no-access-log")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "api.main:app", *listen], env=environ
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture
def http(service: str) -> Iterator[httpx.Client]:
    """Each request on a connection of its own: any process may take it."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=service, limits=limits, timeout=60) as made:
        until_ready(made)
        yield made


def until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if http.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service was not ready within 120 s")


def look(http: httpx.Client) -> Scrape:
    return parsed(http.get("/metrics", headers=bearer(METRICS_KEY)))


def test_a_scrape_of_one_process_counts_the_requests_of_all(http: httpx.Client) -> None:
    labels = {"method": "GET", "route": "/healthz", "status": "200"}
    for _ in range(ASKED):
        assert http.get("/healthz").is_success
    seen = {look(http)("fedkrso_http_requests_total", **labels) for _ in range(10)}
    assert seen == {ASKED}
    assert look(http)("fedkrso_database_up") == 1
