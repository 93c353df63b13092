"""What clients keep for themselves: exactly one version counts, and its lack is never silent."""

from pathlib import Path

import pytest
import torch

from fedkrso_core.client_memory import ClientMemory, MemoryRef
from fedkrso_core.errors import MemoryLost
from fedkrso_core.payload import Payload, encode


def memory_of(value: float) -> Payload:
    return Payload({"w": torch.tensor([value])}, {"steps": 3})


@pytest.fixture
def kept(tmp_path: Path) -> ClientMemory:
    return ClientMemory(tmp_path / "job")


def test_a_client_that_never_answered_begins_with_nothing(kept: ClientMemory) -> None:
    assert kept.load(0, None) == Payload()


def test_nothing_is_kept_of_an_empty_memory(kept: ClientMemory) -> None:
    assert kept.save(0, 1, Payload()) is None
    assert not kept.folder.exists()


def test_what_was_kept_comes_back(kept: ClientMemory) -> None:
    ref = kept.save(4, 2, memory_of(1.5))
    assert ref is not None
    assert encode(kept.load(4, ref)) == encode(memory_of(1.5))


def test_of_two_attempts_the_accepted_one_counts(kept: ClientMemory) -> None:
    accepted = kept.save(0, 3, memory_of(1.0))
    kept.save(0, 3, memory_of(2.0))  # another worker, whose update came too late
    kept.save(0, 4, memory_of(3.0))  # a later round's, which was refused
    assert kept.load(0, accepted).tensors["w"].item() == 1.0


def test_clients_do_not_share_a_memory(kept: ClientMemory) -> None:
    ref = kept.save(0, 1, memory_of(1.0))
    with pytest.raises(MemoryLost, match="client 1 has lost"):
        kept.load(1, ref)


def test_older_memories_are_cleared_away(kept: ClientMemory) -> None:
    old, new = kept.save(0, 1, memory_of(1.0)), kept.save(0, 3, memory_of(2.0))
    later = kept.save(0, 5, memory_of(3.0))
    kept.load(0, new)
    kept.load(0, later)
    with pytest.raises(MemoryLost):
        kept.load(0, old)


def test_a_lost_memory_names_client_round_and_the_folder(kept: ClientMemory) -> None:
    with pytest.raises(MemoryLost, match=r"client 7 .* round 12: .*job/7/12-aa.*CLIENT_MEMORY"):
        kept.load(7, MemoryRef(12, "aa"))


def test_a_damaged_memory_is_lost(kept: ClientMemory) -> None:
    ref = kept.save(0, 1, memory_of(1.0))
    (path,) = (kept.folder / "0").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(MemoryLost, match="damaged"):
        kept.load(0, ref)


def test_a_full_disk_leaves_no_half_file(
    kept: ClientMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        kept.save(0, 1, memory_of(1.0))
    assert list((kept.folder / "0").iterdir()) == []
