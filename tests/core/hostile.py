"""Run as a program: reads hostile encodings with hardly any memory, and prints what happened.

Each of them declares or would take far more than the process may have, so that reading one
without checking it first ends in a MemoryError, which is not a PayloadError.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedkrso_core.errors import PayloadError
from fedkrso_core.expect import Expected, Group, check_upload
from fedkrso_core.header import HEADER_LIMIT, read_header
from fedkrso_core.payload import Payload, decode
from fedkrso_core.wire import compress, restore
from fedkrso_core.wire_spec import WireDtype

ROOM_BYTES = 96 * 2**20
EXPECTED = Expected(required=Group(tensors={"w": ("F32", (2,))}))


def body(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def tensor(shape: list[int], end: int = 4, dtype: str = "F32") -> bytes:
    return json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()


def small_bodies() -> Iterator[bytes]:
    """Few bytes that speak of many."""
    for declared in (2**24, HEADER_LIMIT, 2**40, 2**63, 2**64 - 1):
        yield declared.to_bytes(8, "little") + b"{}"
    for shape in ([2**40], [2**39, 2**39], [2**40] * 64, [2**40] * 50_000, [1] * 50_000):
        yield body(tensor(shape), bytes(4))
        yield body(tensor(shape, 2**40), bytes(4))
    yield body(b"[" * 200_000)
    yield body(b'{"a":' * 100_000)
    yield body(b'{"__metadata__":{"scalars":"' + b"[" * 100_000 + b'"}}')
    yield body(b"9" * 100_000)
    yield body(b'{"x":' + b"9" * 100_000 + b"}")


def wires() -> Iterator[tuple[WireDtype, tuple[int, ...]]]:
    """A few codes that are to be many numbers."""
    for dtype in ("bf16", "int8", "int4"):
        for shape in ((2**40,), (2**20, 2**20), (10**30,)):
            yield dtype, shape  # type: ignore[misc]


def refuses(what: object, call: object, *args: object) -> None:
    try:
        call(*args)  # type: ignore[operator]
    except PayloadError:
        return
    sys.exit(f"was not refused: {str(what)[:200]}")


def main() -> None:
    import torch

    few = torch.zeros(1, dtype=torch.uint8)
    # whatever is loaded late is loaded now
    restore(compress(Payload({"x": torch.zeros(1)}), "int8"), "int8", {"x": (1,)})
    _limit_memory()
    for encoded in small_bodies():
        refuses(encoded[:100], decode, encoded)
    for dtype, shape in wires():
        refuses(shape, restore, Payload({"x": few}, {"wire": dtype}), dtype, {"x": shape})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        for encoded in small_bodies():
            path.write_bytes(encoded)
            refuses(encoded[:100], read_header, path)
        path.write_bytes(body(b"[" + b"[]," * 10_000_000 + b"[]]"))  # 700 MB of lists
        refuses("a header of ten million lists", check_upload, path, EXPECTED)
    sys.stdout.write("all refused\n")


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, used + ROOM_BYTES))


if __name__ == "__main__":
    main()
