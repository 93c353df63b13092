"""The projection P in plain numpy, and the checksum that proves that both sides draw the same.

A second implementation of what `projection` says, in unsigned 64-bit integers. It makes no torch
tensor, so it can be used where those are fake; it also shows that P does not depend on torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fedkrso_core.ops.normal_table import normal_table
from fedkrso_core.ops.projection import NUMBERS_PER_WORD, Distribution, scale

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def projection(
    seed: int, layer: str, rank: int, d_in: int, *, distribution: Distribution = "sign"
) -> NDArray[np.float32]:
    """P (rank, d_in) in float32 for one subspace of one layer: the bits of `ops.projection`."""
    (words,) = _words(seed, {layer: d_in}, rank, distribution)
    if distribution == "sign":
        numbers = np.where(_bits(words), scale(rank), -scale(rank))
    else:
        numbers = normal_table()[_parts(words)] * scale(rank)
    return numbers[: rank * d_in].reshape(rank, d_in)


def checksum(
    seed: int, layers: Mapping[str, int], rank: int, distribution: Distribution = "sign"
) -> str:
    """Digest of the P of all layers of one seed; `layers` gives each d_in by name, in order.

    The first 16 hex digits of the SHA-256 over one byte per entry: 1 where P > 0, else 0.
    """
    total, above_zero = hashlib.sha256(), normal_table() > 0
    for words, d_in in zip(_words(seed, layers, rank, distribution), layers.values(), strict=True):
        positive = _bits(words) if distribution == "sign" else above_zero[_parts(words)]
        total.update(positive[: rank * d_in].tobytes())
    return total.hexdigest()[:16]


def _words(
    seed: int, layers: Mapping[str, int], rank: int, distribution: Distribution
) -> Iterator[NDArray[np.uint64]]:
    """The words of each layer; computed in one flat pass, as many small ones would be slow."""
    counts = [-(-rank * d_in // NUMBERS_PER_WORD[distribution]) for d_in in layers.values()]
    digests = b"".join(hashlib.sha256(layer.encode()).digest()[:8] for layer in layers)
    keys = _mix(np.frombuffer(digests, "<u8").astype(np.uint64) ^ np.uint64(seed))
    ends = np.cumsum(counts)
    places = np.arange(sum(counts)) - np.repeat(ends - counts, counts)
    words = _mix(np.repeat(keys, counts) + (places + 1).astype(np.uint64) * _GOLDEN)
    return iter(np.split(words, ends[:-1]))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def _bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """64 of each word, least significant first."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")


def _parts(words: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Four 16-bit numbers of each word, least significant first."""
    return words.astype("<u8").view("<u2")
