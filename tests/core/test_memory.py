"""Peak memory of a stretch of work."""

import gc
import os
import weakref
from pathlib import Path

import pytest
import torch

from fedkrso_core.memory import measured, settle, tune_allocator, unsettle

MIB = 2**20
CPU = torch.device("cpu")


def peak_of_allocating(mebibytes: int) -> int:
    with measured(CPU) as peak:
        if mebibytes:
            torch.ones(mebibytes * MIB // 4)  # given back before the end
    return peak.bytes


needs_reset = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the resident peak cannot be reset"
)


@needs_reset
def test_the_peak_shows_what_was_given_back() -> None:
    tune_allocator()
    nothing = peak_of_allocating(0)
    assert 190 * MIB < peak_of_allocating(200) - nothing < 230 * MIB


@needs_reset
def test_each_stretch_has_its_own_peak() -> None:
    tune_allocator()
    peak_of_allocating(200)
    assert peak_of_allocating(20) < peak_of_allocating(200) - 150 * MIB


def test_the_peak_is_stored_even_after_an_error() -> None:
    def fail_inside() -> None:
        with measured(CPU) as peak:
            peaks.append(peak)
            raise RuntimeError("in the middle of training")

    peaks: list[object] = []
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_inside()
    assert peaks[0].bytes > MIB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not Linux")
def test_the_peak_is_at_least_what_is_resident_now() -> None:
    with measured(CPU) as peak:
        status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    assert peak.bytes >= int(resident.split()[1]) * 1024 - MIB


@pytest.mark.gpu
def test_on_cuda_the_peak_is_the_allocators() -> None:
    with measured(torch.device("cuda")) as peak:
        torch.ones(50 * MIB // 4, device="cuda")
    assert 50 * MIB <= peak.bytes < 60 * MIB


class Ring:
    """Something that only a garbage collection can free."""

    def __init__(self) -> None:
        self.own = self


def test_what_has_settled_is_looked_at_again_when_asked() -> None:
    before = gc.get_freeze_count()
    ring = Ring()
    watch = weakref.ref(ring)
    settle()
    assert gc.get_freeze_count() > before
    del ring
    gc.collect()
    assert watch() is not None
    unsettle()
    gc.collect()
    assert watch() is None
    gc.freeze()  # as the tests of this folder found it


def test_what_nobody_refers_to_is_freed_though_it_has_settled() -> None:
    tensor = torch.ones(3)
    watch = weakref.ref(tensor)
    settle()
    del tensor
    assert watch() is None
