"""zstd around an update: nothing comes out that is larger than an update may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from fedkrso_core.compression import is_squeezed, squeezed, unsqueezed
from fedkrso_core.errors import PayloadError
from fedkrso_core.expect import Expected, Group, check_upload
from fedkrso_core.method import pack, unpack
from fedkrso_core.payload import Payload, encode
from fedkrso_core.wire_spec import WireSpec

SQUEEZED = WireSpec(compression="zstd")
SMALL = Expected(required=Group(tensors={"x": ("F32", (4,))}), wire=SQUEEZED)


def test_what_was_squeezed_comes_back() -> None:
    data = bytes(range(256)) * 40
    assert unsqueezed(squeezed(data), len(data)) == data
    assert len(squeezed(data)) < len(data)


def test_no_payload_looks_squeezed() -> None:
    assert is_squeezed(squeezed(b""))
    assert not is_squeezed(encode(Payload()))


def test_one_byte_more_than_allowed_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"more than 999 bytes .* at most 999"):
        unsqueezed(squeezed(bytes(1000)), 999)


@pytest.mark.parametrize("size", [10**6, 10**9], ids=["1 MB", "1 GB"])
def test_a_bomb_is_refused_at_the_door_with_hardly_any_disk(tmp_path: Path, size: int) -> None:
    bomb = zstandard.ZstdCompressor(level=1).compressobj()
    path = tmp_path / "update"
    with path.open("wb") as file:
        for _ in range(size // 10**6):
            file.write(bomb.compress(bytes(10**6)))
        file.write(bomb.flush())
    assert path.stat().st_size < size / 1000
    with pytest.raises(PayloadError, match="holds more than"):
        check_upload(path, SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["update"]


def test_a_frame_that_asks_for_gigabytes_of_window_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    greedy = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path = tmp_path / "update"
    path.write_bytes(greedy.compress(bytes(1000)) + greedy.flush())
    with pytest.raises(PayloadError, match="not zstd"):
        check_upload(path, SMALL)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:-6],
        lambda b: b + b"junk",
        lambda b: b[:20] + b"\x00\x01" + b[22:],
        lambda _: b"",
    ],
    ids=["cut", "longer", "damaged", "empty"],
)
def test_a_broken_frame_is_refused(
    federation: Callable[..., Any], tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    fed = federation(wire={"compression": "zstd"})
    path = tmp_path / "update"
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    path.write_bytes(pack(fed.train(0), "zstd"))
    check_upload(path, expected, fed.sizes[0])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PayloadError):
        check_upload(path, expected, fed.sizes[0])


def test_an_update_that_is_not_squeezed_is_refused_where_the_job_asks_for_it(
    federation: Callable[..., Any], tmp_path: Path
) -> None:
    fed, plain = federation(wire={"compression": "zstd"}), federation()
    path = tmp_path / "update"
    path.write_bytes(pack(fed.train(0)))
    with pytest.raises(PayloadError, match="not zstd, as the job asks"):
        check_upload(path, fed.method.expect(fed.config, fed.model, fed.states[-1]))
    path.write_bytes(pack(fed.train(0), "zstd"))
    with pytest.raises(PayloadError):
        check_upload(path, plain.method.expect(plain.config, plain.model, plain.states[-1]))


def test_the_server_reads_both_forms(federation: Callable[..., Any]) -> None:
    update = federation().train(0)
    assert pack(unpack(pack(update, "zstd"))) == pack(update)
