"""What a client trains on, as it tells the service: device, free memory, threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from fedkrso_core.device import default_device, default_threads


def hardware() -> dict[str, Any]:
    """The device that trainings here use, the bytes that are free on it, the threads."""
    device = default_device()
    name = "cpu" if device.type == "cpu" else f"cuda, {torch.cuda.get_device_name(device)}"
    return {
        "device": name[:100],
        "free_memory_bytes": free_memory_bytes(device),
        "threads": default_threads(),
    }


def free_memory_bytes(device: torch.device) -> int | None:
    """Bytes that a training could take now; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pages = getattr(os, "sysconf_names", {}).get("SC_AVPHYS_PAGES")
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages is not None else None
