"""A real S3 server over HTTP (moto's), in a process of its own."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest


@contextmanager
def s3_server() -> Iterator[str]:
    """Its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait(server, endpoint)
        yield endpoint
    finally:
        server.terminate()
        server.wait(30)


def _wait(server: subprocess.Popen[bytes], endpoint: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"moto's server ended with {server.returncode}")
        try:
            httpx.get(endpoint, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("moto's server does not answer")


def new_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, and the variables by which a process finds it."""
    bucket = f"b-{secrets.token_hex(6)}"
    httpx.put(f"{endpoint}/{bucket}", trust_env=False).raise_for_status()
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return bucket


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test-id",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
    }
