"""The random projection P of a subspace, regenerated from (seed, layer name) and never sent.

P (r, d_in) has the entries +1/sqrt(r) and -1/sqrt(r), so that E[P^T P] = I. The signs are bits of
splitmix64 (Steele, Lea, Flood, OOPSLA 2014) in counter mode, integer arithmetic only: the same
bits on every device, library version, thread count and instruction set, in any order of layers.

    key    = mix(seed XOR first 8 bytes (little-endian) of SHA-256(layer name))
    word_j = mix(key + (j + 1) * 0x9E3779B97F4A7C15)          j = 0, 1, ...; all modulo 2^64
    mix(z) : z ^= z >> 30; z *= 0xBF58476D1CE4E5B9; z ^= z >> 27; z *= 0x94D049BB133111EB;
             z ^= z >> 31
    P.flat[64 j + b] = +1/sqrt(r) if bit b (least significant first) of word_j is 1, else -1/sqrt(r)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def _signed(value: int) -> int:
    """The 64-bit pattern as torch's int64, whose products wrap modulo 2^64 as needed."""
    return value - 2**64 if value >= 2**63 else value


_FACTORS = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))


def _mix(z: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 words; `>>` on int64 keeps the sign, hence the masks."""
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _FACTORS[0]
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _FACTORS[1]
    return z ^ ((z >> 31) & (2**33 - 1))


def _keys(seed: int, layers: Iterable[str], device: torch.device) -> Tensor:
    """One key per layer, (number of layers,)."""
    digests = [hashlib.sha256(layer.encode()).digest() for layer in layers]
    names = [int.from_bytes(digest[:8], "little") for digest in digests]
    return _mix(torch.tensor([_signed((seed ^ name) & _MASK) for name in names], device=device))


def _sign_table(scale: float, device: torch.device) -> Tensor:
    """(256, 8): for each byte, +-scale for its bits, least significant first."""
    bits = (torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device)) & 1
    return (bits.float() * 2 - 1) * scale


def projection(
    seed: int, layer: str, rank: int, d_in: int, device: torch.device | str = "cpu"
) -> Tensor:
    """P (rank, d_in) in float32 for one subspace of one layer."""
    return projections(seed, {layer: d_in}, rank, device)[layer]


def projections(
    seed: int, layers: Mapping[str, int], rank: int, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """P (rank, d_in) of each layer in one flat pass; `layers` gives each d_in by name.

    The bits are those of `projection`; many small calls would cost more than the numbers do.
    """
    device = torch.device(device)
    counts = [rank * d_in for d_in in layers.values()]
    words = [-(-count // 64) for count in counts]
    lengths = torch.tensor(words, device=device)
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    counters = torch.arange(1, sum(words) + 1, device=device) - starts
    keys = _keys(seed, layers, device).repeat_interleave(lengths)
    drawn = _mix(keys + counters * _signed(_GOLDEN))
    table = _sign_table(1 / math.sqrt(rank), device)
    flat = torch.split(table[drawn.view(torch.uint8).long()].reshape(-1), [64 * n for n in words])
    return {
        name: values[:count].view(rank, d_in)
        for (name, d_in), values, count in zip(layers.items(), flat, counts, strict=True)
    }


def checksum(projections: Iterable[Tensor]) -> str:
    """Digest over the signs of projections in the given order: proves that both sides agree."""
    total = hashlib.sha256()
    for p in projections:
        total.update((p > 0).to("cpu").numpy().tobytes())
    return total.hexdigest()[:16]
