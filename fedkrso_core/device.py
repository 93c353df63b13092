"""Which device and how many threads a process computes with; both are set deliberately."""

from __future__ import annotations

import os

import torch

from fedkrso_core.errors import CoreError
from fedkrso_core.memory import tune_allocator


def default_threads() -> int:
    """FEDKRSO_THREADS, else half the cores: two workers must not fight over them."""
    given = os.environ.get("FEDKRSO_THREADS")
    if given is None:
        return max(1, (os.cpu_count() or 2) // 2)
    if not given.isdecimal() or int(given) < 1:
        raise CoreError(f"FEDKRSO_THREADS is {given!r}; allowed: a whole number from 1")
    return int(given)


def default_device() -> torch.device:
    """FEDKRSO_DEVICE, else CUDA where there is one, else CPU."""
    given = os.environ.get("FEDKRSO_DEVICE")
    if given is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(given)
    except RuntimeError:
        raise CoreError(f"FEDKRSO_DEVICE is {given!r}; allowed: cpu, cuda, cuda:0, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CoreError(f"FEDKRSO_DEVICE is {given!r}, but there is no CUDA device")
    return device


def lean_allocator() -> bool:
    """FEDKRSO_ALLOCATOR: lean (the default), freed tensors go back to the system, or fast."""
    given = os.environ.get("FEDKRSO_ALLOCATOR", "lean")
    if given not in ("lean", "fast"):
        raise CoreError(f"FEDKRSO_ALLOCATOR is {given!r}; allowed: lean, fast")
    return given == "lean"


def prepare_process() -> torch.device:
    """Sets threads and allocator once per process; returns the device to compute on.

    Equal threads everywhere are part of the contract that the same job gives the same bits.
    """
    torch.set_num_threads(default_threads())
    if lean_allocator():
        tune_allocator()
        # each shape of a product that is not float32 keeps its code, by default for 1024 shapes
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    return default_device()
