"""zstd around a whole update. What comes out is bounded, whatever the bytes claim."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import zstandard

from fedkrso_core.errors import PayloadError

_MAGIC = bytes.fromhex("28b52ffd")  # no length of a header that is allowed begins so
_LEVEL = 3  # numbers hardly get smaller by more effort
_CHUNK_BYTES = 1024 * 1024
_WINDOW_BYTES = 8 * 1024 * 1024  # of what level 3 makes; a frame may ask the reader for gigabytes


def squeezed(data: bytes) -> bytes:
    """The bytes as one zstd frame, which carries a checksum of them."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(data)


def is_squeezed(data: bytes) -> bool:
    """Whether bytes begin as a frame does; no payload that is not squeezed can."""
    return data[:4] == _MAGIC


def unsqueezed(data: bytes, limit: int) -> bytes:
    """What is in the frame; PayloadError if it is none, or holds more than `limit` bytes."""
    into = io.BytesIO()
    _copy(io.BytesIO(data), into, limit)
    return into.getvalue()


@contextmanager
def opened(path: Path, limit: int) -> Iterator[Path]:
    """A file beside `path` with what is in its frame, for a while; errors as of `unsqueezed`."""
    with NamedTemporaryFile(dir=path.parent, suffix=".part") as into, path.open("rb") as source:
        _copy(source, into, limit)
        into.flush()
        yield Path(into.name)


def _copy(source: IO[bytes], into: IO[bytes], limit: int) -> None:
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(
        source, read_across_frames=True, closefd=False
    )
    left = limit
    try:
        while chunk := reader.read(min(_CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise PayloadError(
                    f"the update holds more than {limit} bytes when it is decompressed; "
                    f"allowed: at most {limit}"
                )
            into.write(chunk)
    except zstandard.ZstdError as error:
        raise PayloadError(f"the update is not zstd, as the job asks: {error}") from None
