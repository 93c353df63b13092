"""What happens to blobs when a process is killed, or the disk is full."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from api.blobs import FolderBlobs, blobs_of
from api.settings import Settings
from tests.api.bucket import environment, new_bucket

WRITER = """
import asyncio, os, sys
from api.blobs import blobs_of
from api.settings import Settings

blobs = blobs_of(Settings())
print("ready", flush=True)

async def body():
    for _ in range(9 * 16):
        yield os.urandom(65536)

while True:
    blobs.keep(asyncio.run(blobs.parts.receive(body(), 10**9)))
    print("kept", flush=True)
"""


@pytest.fixture(params=["folder", "s3"])
def environ(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Of a process that writes blobs."""
    given = {"FEDKRSO_HOME": str(tmp_path)}
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        bucket = new_bucket(endpoint, monkeypatch)
        given |= {"FEDKRSO_BLOB_URL": f"s3://{bucket}", **environment(endpoint)}
    return given


def write_and_die(environ: dict[str, str], delay_s: float) -> None:
    """A process that is killed in the middle of writing blobs."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER], env=os.environ | environ, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer, writer.stdout as said:
        assert said.readline() == "ready\n"
        assert said.readline() == "kept\n"
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)


def test_a_writer_that_is_killed_leaves_whole_blobs_and_parts_that_are_swept(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    blobs = blobs_of(Settings())
    for _ in range(2):
        write_and_die(environ, random.uniform(0.0, 0.3))
    found = list(blobs.listed())
    assert len(found) >= 2
    for blob in found:
        assert hashlib.sha256(blobs.read(blob.digest)).hexdigest() == blob.digest
    blobs.parts.sweep(older_than_s=-1.0)
    assert list(blobs.parts.folder.iterdir()) == []
    assert blobs.put(b"and on it goes") in {blob.digest for blob in blobs.listed()}


async def large_body() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield bytes(65536)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("how", ["received", "written"])
def test_a_full_disk_is_enospc_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    part = blobs.parts.folder / "part"
    part.symlink_to("/dev/full")
    monkeypatch.setattr(blobs.parts, "_new", lambda: part)
    store: dict[str, Callable[[], object]] = {
        "received": lambda: asyncio.run(blobs.parts.receive(large_body(), 10**9)),
        "written": lambda: blobs.put(bytes(3_000_000)),
    }
    with pytest.raises(OSError, match="No space left") as failed:
        store[how]()
    assert failed.value.errno == errno.ENOSPC
    assert list(blobs.parts.folder.iterdir()) == []
    assert list(blobs.listed()) == []
