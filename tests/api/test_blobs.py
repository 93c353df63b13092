"""One suite for every store of blobs: a folder, and S3 over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.blobs import Blobs, FolderBlobs, Part, Parts
from api.blobs.s3 import S3Blobs
from api.errors import ApiError
from tests.api.bucket import new_bucket

DATA = b"numbers that were trained"
DIGEST = hashlib.sha256(DATA).hexdigest()
LARGE = os.urandom(1024) * (9 * 1024)
ABSENT = "0" * 64


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "blobs")
    bucket = new_bucket(request.getfixturevalue("s3_endpoint"), monkeypatch)
    return S3Blobs(bucket, "some/where", Parts(tmp_path / "parts"))


def parts(blobs: Blobs) -> list[Path]:
    return list(blobs.parts.folder.iterdir())


def stored(blobs: Blobs) -> list[tuple[str, int]]:
    return sorted((found.digest, found.size) for found in blobs.listed())


async def chunks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


def receive(blobs: Blobs, *parts: bytes, limit: int = 1000, error: Exception | None = None) -> Part:
    return asyncio.run(blobs.parts.receive(chunks(*parts, error=error), limit))


def test_a_blob_is_named_by_its_digest(blobs: Blobs) -> None:
    assert blobs.put(DATA) == DIGEST
    assert blobs.read(DIGEST) == b"".join(blobs.stream(DIGEST)) == DATA
    assert stored(blobs) == [(DIGEST, len(DATA))]
    assert parts(blobs) == []


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
def test_the_same_bytes_are_kept_once(blobs: Blobs, data: bytes) -> None:
    assert blobs.put(data) == blobs.put(data)
    assert stored(blobs) == [(hashlib.sha256(data).hexdigest(), len(data))]
    assert parts(blobs) == []


def test_a_large_blob_comes_back_as_it_went(blobs: Blobs) -> None:
    digest = blobs.put(LARGE)
    assert blobs.size(digest) == len(LARGE)
    assert blobs.read(digest) == LARGE
    pieces = list(blobs.stream(digest))
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) < len(LARGE)


def test_a_blob_without_bytes_is_a_blob(blobs: Blobs) -> None:
    digest = blobs.put(b"")
    assert (blobs.size(digest), blobs.read(digest), list(blobs.stream(digest))) == (0, b"", [])


def test_a_finished_file_is_moved_in(blobs: Blobs) -> None:
    with blobs.parts.workspace() as folder:
        path = Path(folder) / "archive"
        path.write_bytes(DATA)
        assert blobs.put_file(path) == DIGEST
        assert not path.exists()
    assert blobs.read(DIGEST) == DATA
    assert parts(blobs) == []


def test_a_received_part_is_no_blob_before_it_is_kept(blobs: Blobs) -> None:
    part = receive(blobs, DATA[:7], DATA[7:])
    assert (part.digest, part.size) == (DIGEST, len(DATA))
    assert blobs.size(DIGEST) is None
    blobs.keep(part)
    assert blobs.read(DIGEST) == DATA
    blobs.drop(part)
    assert stored(blobs) == [(DIGEST, len(DATA))]
    assert parts(blobs) == []


def test_a_body_of_many_chunks_is_received_in_order(blobs: Blobs) -> None:
    pieces = [LARGE[at : at + 65_537] for at in range(0, len(LARGE), 65_537)]
    part = receive(blobs, *pieces, limit=len(LARGE))
    assert part.digest == hashlib.sha256(LARGE).hexdigest()
    assert part.path.read_bytes() == LARGE
    blobs.drop(part)


def test_a_dropped_part_leaves_nothing(blobs: Blobs) -> None:
    blobs.drop(receive(blobs, DATA))
    assert stored(blobs) == []
    assert parts(blobs) == []


def test_a_body_at_the_limit_is_received_and_one_above_it_is_not(blobs: Blobs) -> None:
    blobs.drop(receive(blobs, DATA, limit=len(DATA)))
    with pytest.raises(ApiError, match="larger than 24 bytes") as refused:
        receive(blobs, DATA, limit=len(DATA) - 1)
    assert refused.value.status == 413
    assert parts(blobs) == []


def test_a_body_that_breaks_off_leaves_nothing(blobs: Blobs) -> None:
    with pytest.raises(ConnectionResetError):
        receive(blobs, LARGE[:3_000_000], error=ConnectionResetError(), limit=len(LARGE))
    assert parts(blobs) == []


def test_a_deleted_blob_is_gone_and_may_come_back(blobs: Blobs) -> None:
    blobs.put(DATA)
    blobs.delete(DIGEST)
    blobs.delete(DIGEST)
    assert blobs.size(DIGEST) is None
    assert stored(blobs) == []
    blobs.put(DATA)
    assert blobs.read(DIGEST) == DATA


def test_a_blob_that_is_not_there_says_so(blobs: Blobs) -> None:
    assert blobs.size(ABSENT) is None
    with pytest.raises(FileNotFoundError):
        blobs.read(ABSENT)
    with pytest.raises(FileNotFoundError):
        next(iter(blobs.stream(ABSENT)))


def test_listed_blobs_have_an_age(blobs: Blobs) -> None:
    blobs.put(DATA)
    (found,) = blobs.listed()
    assert -5 < found.age_s < 600


def test_a_check_leaves_nothing(blobs: Blobs) -> None:
    blobs.check()
    assert stored(blobs) == []
    assert parts(blobs) == []


def test_what_a_dead_writer_left_is_swept_and_what_is_written_stays(blobs: Blobs) -> None:
    dead, alive = blobs.parts.write(b"dead").path, blobs.parts.write(b"alive").path
    building = blobs.parts.folder / "work-building"
    building.mkdir()
    (building / "weights").write_bytes(b"just written")
    long_ago = time.time() - 7200
    for path in (dead, building):
        os.utime(path, (long_ago, long_ago))
    assert blobs.parts.sweep() == 1
    assert sorted(parts(blobs)) == sorted([alive, building])


def test_a_link_gives_the_blob_to_whoever_has_it(blobs: Blobs) -> None:
    blobs.put(DATA)
    link = blobs.link(DIGEST, 60.0)
    if isinstance(blobs, FolderBlobs):
        assert link is None
        assert blobs.local(DIGEST) is not None
        return
    assert link is not None
    assert "test-secret" not in link
    assert blobs.local(DIGEST) is None
    assert httpx.get(link, trust_env=False).content == DATA


def test_a_folder_that_is_gone_fails_the_check(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    blobs.parts.folder.rmdir()
    blobs.folder.rmdir()
    with pytest.raises(OSError, match="the folder is missing"):
        blobs.check()


def test_a_bucket_that_is_not_there_fails_the_check(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_bucket(s3_endpoint, monkeypatch)
    with pytest.raises(OSError, match="s3://no-such-bucket"):
        S3Blobs("no-such-bucket", "", Parts(tmp_path)).check()


def test_clients_are_sent_to_the_endpoint_that_they_can_reach(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(s3_endpoint, monkeypatch)
    outside = S3Blobs(bucket, "", Parts(tmp_path), "https://blobs.example.org")
    link = outside.link(DIGEST, 60.0)
    assert link.startswith(f"https://blobs.example.org/{bucket}/{DIGEST[:2]}/{DIGEST}?")
