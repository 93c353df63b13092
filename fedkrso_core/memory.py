"""Peak memory of a stretch of work: the CUDA allocator's peak, or the process's resident peak."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@dataclass
class Peak:
    """Filled in at the end of the stretch."""

    bytes: int = 0


@contextmanager
def measured(device: torch.device) -> Iterator[Peak]:
    """Resets the peak, runs the block, and stores the block's peak in bytes.

    CUDA: the allocator's peak. CPU on Linux: VmHWM, the peak resident size, reset through
    /proc/self/clear_refs; elsewhere the process's peak since its start, which cannot be reset.
    """
    peak = Peak()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _give_back_freed_memory()
        _reset_resident_peak()
    try:
        yield peak
    finally:
        if device.type == "cuda":
            peak.bytes = torch.cuda.max_memory_allocated(device)
        else:
            peak.bytes = _resident_peak()


def settle() -> None:
    """Leaves what is there now out of garbage collections, until `unsettle`.

    The libraries alone are a million objects, and looking at each of them takes a third of a
    second: longer than a client of a small model trains. Objects that nobody refers to any more are
    freed as ever, but for rings of them.
    """
    gc.collect()
    gc.freeze()


def unsettle() -> None:
    """Looks at everything again, so that rings among what was there are found."""
    gc.unfreeze()


def tune_allocator() -> None:
    """Makes glibc return freed tensors to the system at once.

    Without it the resident peak holds memory that no tensor uses (about 400 MiB for RoBERTa-base),
    and the figure would be of the allocator, not of the method. No effect without glibc.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 * 1024)


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") else None
    except OSError:
        return None


def _give_back_freed_memory() -> None:
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _reset_resident_peak() -> None:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return  # not Linux, or not allowed in this container: the peak stays the one since start


def _resident_peak() -> int:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
