from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.blobs import Blobs, Part
from api.errors import ApiError

DATA = b"numbers that were trained"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(blobs: Blobs) -> list[str]:
    return sorted(str(p.relative_to(blobs.folder)) for p in blobs.folder.rglob("*") if p.is_file())


async def chunks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


def receive(blobs: Blobs, *parts: bytes, limit: int = 1000, error: Exception | None = None) -> Part:
    return asyncio.run(blobs.receive(chunks(*parts, error=error), limit))


def test_a_blob_is_named_by_its_digest(blobs: Blobs) -> None:
    assert blobs.put(DATA) == DIGEST
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert files(blobs) == [f"{DIGEST[:2]}/{DIGEST}"]


def test_the_same_bytes_are_kept_once(blobs: Blobs) -> None:
    assert blobs.put(DATA) == blobs.put(DATA)
    assert len(files(blobs)) == 1


def test_a_finished_file_is_moved_in(blobs: Blobs) -> None:
    path = blobs.folder / "archive"
    path.write_bytes(DATA)
    assert blobs.put_file(path) == DIGEST
    assert files(blobs) == [f"{DIGEST[:2]}/{DIGEST}"]


def test_a_received_part_is_no_blob_before_it_is_kept(blobs: Blobs) -> None:
    part = receive(blobs, DATA[:7], DATA[7:])
    assert (part.digest, part.size) == (DIGEST, len(DATA))
    assert not blobs.path(DIGEST).exists()
    blobs.keep(part)
    assert blobs.path(DIGEST).read_bytes() == DATA
    blobs.drop(part)
    assert files(blobs) == [f"{DIGEST[:2]}/{DIGEST}"]


def test_a_dropped_part_leaves_nothing(blobs: Blobs) -> None:
    blobs.drop(receive(blobs, DATA))
    assert files(blobs) == []


def test_a_body_at_the_limit_is_received_and_one_above_it_is_not(blobs: Blobs) -> None:
    blobs.drop(receive(blobs, DATA, limit=len(DATA)))
    with pytest.raises(ApiError, match="larger than 24 bytes") as refused:
        receive(blobs, DATA, limit=len(DATA) - 1)
    assert refused.value.status == 413
    assert files(blobs) == []


def test_a_body_that_breaks_off_leaves_nothing(blobs: Blobs) -> None:
    with pytest.raises(ConnectionResetError):
        receive(blobs, DATA, error=ConnectionResetError())
    assert files(blobs) == []
