"""Blobs in a bucket of S3, or of anything that speaks its protocol.

Credentials, region and endpoint come from the standard AWS_* variables.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from api.blobs.parts import Part, Parts
from api.blobs.store import Blobs, Listed, key_of

# up to here a blob is one request that the server refuses if the key exists; above it goes up in
# pieces, which only overwrite: with the same bytes, as the key is their digest
_WHOLE_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 5 * 1024 * 1024
_PIECES_AT_ONCE = 2
_KEY = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})")
_FULL = ("StorageFull", "QuotaExceeded", "InsufficientStorage", "507")
_PROBE = b"written by a check"


class S3Blobs(Blobs):
    """A bucket, under a prefix; `public_endpoint` is how clients reach it, if they do otherwise."""

    def __init__(self, bucket: str, prefix: str, parts: Parts, public_endpoint: str = "") -> None:
        super().__init__(parts)
        self.where = f"s3://{bucket}/{prefix}"
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        self._store = _store(bucket, prefix, endpoint)
        self._outside = _store(bucket, prefix, public_endpoint or endpoint)

    def keep(self, part: Part) -> None:
        """Uploads the part, unless the blob is there already."""
        key = key_of(part.digest)
        with self._asked():
            if part.size <= _WHOLE_BYTES:
                self._create(key, part.path.read_bytes())
            elif self.size(part.digest) != part.size:
                obstore.put(
                    self._store,
                    key,
                    part.path,
                    use_multipart=True,
                    chunk_size=_PIECE_BYTES,
                    max_concurrency=_PIECES_AT_ONCE,
                )
        self.drop(part)

    def _create(self, key: str, data: bytes) -> None:
        with suppress(AlreadyExistsError):
            obstore.put(self._store, key, data, mode="create", use_multipart=False)

    def read(self, digest: str) -> bytes:
        """The object's bytes."""
        with self._asked():
            return bytes(obstore.get(self._store, key_of(digest)).bytes())

    def stream(self, digest: str) -> Iterator[bytes]:
        """The object by ranges: a slow reader holds no connection to the store."""
        size = self.size(digest)
        if size is None:
            raise FileNotFoundError(digest)
        for start in range(0, size, _PIECE_BYTES):
            end = min(start + _PIECE_BYTES, size)
            with self._asked():
                piece = obstore.get_range(self._store, key_of(digest), start=start, end=end)
            yield bytes(piece)

    def size(self, digest: str) -> int | None:
        """The object's size."""
        try:
            with self._asked():
                return int(obstore.head(self._store, key_of(digest))["size"])
        except FileNotFoundError:
            return None

    def delete(self, digest: str) -> None:
        """Removes the object."""
        with suppress(FileNotFoundError), self._asked():
            obstore.delete(self._store, key_of(digest))

    def listed(self) -> Iterator[Listed]:
        """The objects that are named like blobs."""
        with self._asked():
            for batch in obstore.list(self._store):
                now = datetime.now(UTC)
                for found in batch:
                    if named := _KEY.fullmatch(found["path"]):
                        age = now - found["last_modified"]
                        yield Listed(named[1], found["size"], age.total_seconds())

    def check(self) -> None:
        """Writes an object, reads it and removes it."""
        key = f"checks/{secrets.token_hex(16)}"
        with self._asked():
            self._create(key, _PROBE)
            read = bytes(obstore.get(self._store, key).bytes())
            obstore.delete(self._store, key)
        if read != _PROBE:
            raise OSError(f"{self.where}: what was written is not what is read")

    def link(self, digest: str, lifetime_s: float) -> str:
        """A presigned address: a secret as long as it lives."""
        with self._asked():
            lifetime = timedelta(seconds=lifetime_s)
            return obstore.sign(self._outside, "GET", key_of(digest), lifetime)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Errors of the store as OSError; the text of the store's answer stays inside of it."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.where}: there is no such blob") from error
        except BaseError as error:
            if any(word in str(error) for word in _FULL):
                raise OSError(errno.ENOSPC, "the blob store is full", self.where) from error
            said = f"the blob store refuses or does not answer ({type(error).__name__})"
            raise OSError(errno.EIO, said, self.where) from error


def _store(bucket: str, prefix: str, endpoint: str) -> S3Store:
    options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(minutes=5),
        },
        # the callers try again themselves: an upload must not hang for minutes
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        **options,
    )
