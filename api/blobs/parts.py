"""Bodies on their way to the blobs: local files that are hashed while they come in."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import ClientDisconnect

from api.errors import ApiError

_BATCH_BYTES = 1024 * 1024
_FLUSH_BYTES = 32 * 1024 * 1024
_STALE_S = 3600.0


@dataclass(frozen=True)
class Part:
    """A blob that is written but not yet kept: its temporary file, digest and size."""

    path: Path
    digest: str
    size: int


class Superseded(ApiError):
    """A newer request sends the same body."""

    def __init__(self) -> None:
        super().__init__(409, "conflict", "a newer request sends this update")


class Parts:
    """A folder of unfinished bodies; those whose writer died are swept after an hour."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._swept_at = 0.0
        self._open: dict[str, _Sink] = {}

    def write(self, data: bytes) -> Part:
        """The bytes as a part."""
        path = self._new()
        try:
            path.write_bytes(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Part(path, hashlib.sha256(data).hexdigest(), len(data))

    def adopt(self, path: Path) -> Part:
        """A finished file of this folder's filesystem as a part."""
        return Part(path, digest_of(path), path.stat().st_size)

    async def receive(
        self,
        chunks: AsyncIterable[bytes],
        limit_bytes: int,
        name: str | None = None,
        offset: int = 0,
        total: int | None = None,
    ) -> Part | None:
        """Streams a request's body into a part; 413 as soon as it is above the limit.

        A body with a name may come in several requests: each begins at an `offset` up to which
        the bytes are here already (else 416), and if the connection breaks, what came stays for
        an hour. None as long as fewer than `total` bytes are here. The newest request has the
        file: one before it that hangs is ended (409), or answers for it (503) from another process.

        OSError ENOSPC where the disk is full. Whatever else goes wrong, nothing stays.
        """
        sink = await self._sink(name, offset)
        try:
            async for chunk in chunks:
                if sink.size + len(chunk) > limit_bytes:
                    raise too_large(limit_bytes)
                await sink.feed(chunk)
            if total is not None and sink.size < total:
                await sink.pause()
                return None
            # looked through under a name that nobody else opens: what was accepted stays as it is
            return await sink.finish(None if name is None else self._new())
        except (ClientDisconnect, asyncio.CancelledError):
            await (sink.abandon() if name is None else sink.pause())
            raise
        except Superseded:
            raise
        except BaseException:
            await sink.abandon()
            raise
        finally:
            if name is not None and self._open.get(name) is sink:
                del self._open[name]

    async def _sink(self, name: str | None, offset: int) -> _Sink:
        if name is None:
            return _Sink(self._new(), 0)
        if (before := self._open.pop(name, None)) is not None:
            with suppress(OSError):
                await before.pause()
        sink = self._open[name] = _Sink(self.folder / name, offset)
        return sink

    def received(self, name: str) -> int:
        """How many bytes of a body that comes in several requests are here."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def put_back(self, part: Part, name: str) -> None:
        """Leaves a whole body to be found by its name again."""
        part.path.replace(self.folder / name)

    def drop(self, part: Part) -> None:
        """Forgets a part."""
        part.path.unlink(missing_ok=True)

    def workspace(self) -> tempfile.TemporaryDirectory[str]:
        """A folder to build a part in, gone after its block."""
        return tempfile.TemporaryDirectory(dir=self.folder, prefix="work-")

    def sweep(self, older_than_s: float = _STALE_S) -> int:
        """Removes what nobody has written to for so long; returns how many."""
        before, swept = time.time() - older_than_s, 0
        for entry in self.folder.iterdir():
            with suppress(FileNotFoundError):  # its writer, or another sweep, was quicker
                if _touched_at(entry) < before:
                    _remove(entry)
                    swept += 1
        return swept

    def _new(self) -> Path:
        if time.monotonic() > self._swept_at + _STALE_S:
            self._swept_at = time.monotonic()
            self.sweep()
        return self.folder / secrets.token_hex(16)


class _Sink:
    """Hashes and writes a batch in a thread while the event loop receives the next one.

    At most three batches are in memory: one that comes in, one joined and one written. The disk is
    kept busy meanwhile, so that little is left for the fsync that makes a blob of it. No other
    sink, of this process or another, has the file at the same time.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.size = offset
        self._path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            self._take(offset)
        except BaseException:
            self._file.close()
            raise
        self._total = None if offset else hashlib.sha256()
        self._turn = asyncio.Lock()  # between the request and a newer one that ends it
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._flushed = offset

    def _take(self, offset: int) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # not the file that another process had under this name and has taken away meanwhile
            is_there = os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            detail = "another request is still sending this update: ask again"
            raise ApiError(503, "not-ready", detail, headers={"Retry-After": "1"})
        here = self._file.seek(0, os.SEEK_END)
        if here < offset:
            raise ApiError(416, "wrong-offset", f"{here} bytes are here: go on from there")
        self._file.seek(offset)
        if here > offset:
            self._file.truncate()

    async def feed(self, chunk: bytes) -> None:
        """Takes a chunk; waits if the batch before is not written yet."""
        async with self._turn:
            self._require_mine()
            self._batch.append(chunk)
            self._batch_bytes += len(chunk)
            self.size += len(chunk)
            if self._batch_bytes >= _BATCH_BYTES:
                await self._flush()

    async def finish(self, path: Path | None) -> Part:
        """The part, when all of it is written; under a path of its own if there is one."""
        async with self._turn:
            self._require_mine()
            await self._flush()
            await self._written()
            await self._flushed_to_disk()
            if path is not None:
                self._path = self._path.replace(path)
            self._file.close()
        if self._total is not None:
            return Part(self._path, self._total.hexdigest(), self.size)
        # what came in earlier requests was not hashed in this one
        loop = asyncio.get_running_loop()
        return Part(self._path, await loop.run_in_executor(None, digest_of, self._path), self.size)

    async def pause(self) -> None:
        """Leaves what came where it is; feeding it afterwards raises Superseded."""
        async with self._turn:
            if self._file.closed:
                return
            try:
                await self._flush()
                await self._written()
            finally:
                await self._flushed_to_disk()
                self._file.close()

    async def abandon(self) -> None:
        """Removes the file, once no thread writes to it any more."""
        async with self._turn:
            with suppress(BaseException):
                await self._written()
            with suppress(BaseException):
                await self._flushed_to_disk()
            with suppress(OSError):  # a full disk says so once more
                self._file.close()
            self._path.unlink(missing_ok=True)

    def _require_mine(self) -> None:
        if self._file.closed:
            raise Superseded

    async def _flush(self) -> None:
        await self._written()
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, batch)
        is_idle = self._flushing is None or self._flushing.done()
        if is_idle and self.size - self._flushed >= _FLUSH_BYTES:
            self._flushed = self.size
            self._flushing = loop.run_in_executor(None, self._to_disk)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await asyncio.shield(writing)

    async def _flushed_to_disk(self) -> None:
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            await asyncio.shield(flushing)

    def _to_disk(self) -> None:
        with suppress(OSError):  # the fsync that counts comes later, and says it again
            os.fsync(self._file.fileno())

    def _write(self, batch: list[bytes]) -> None:
        joined = b"".join(batch)
        if self._total is not None:
            self._total.update(joined)
        self._file.write(joined)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _touched_at(entry: Path) -> float:
    """When a file, or anything in a folder, was written to last."""
    return max(path.stat().st_mtime for path in (entry, *entry.rglob("*")))


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink()


def too_large(limit_bytes: int) -> ApiError:
    """The refusal of a body above the limit."""
    return ApiError(413, "too-large", f"the body is larger than {limit_bytes} bytes")
