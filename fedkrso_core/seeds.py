"""All randomness of a job derives from (job seed, purpose, round, client).

Numbers come from numpy's counter-based Philox, never from a global generator: the same parts give
the same stream in every process, so that a task delivered twice produces the same bytes.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(*parts: int | str) -> int:
    """A 63-bit seed of the parts: the first 8 bytes (little-endian) of their SHA-256."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator of its own for the parts."""
    return np.random.Generator(np.random.Philox(key=derive(*parts)))
