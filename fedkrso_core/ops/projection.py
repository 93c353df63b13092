"""The random projection P of a subspace, regenerated from (seed, layer name) and never sent.

P (r, d_in) has entries of mean 0 and variance 1/r, so that E[P^T P] = I. They are made of the bits
of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) in counter mode:

    key    = mix(seed XOR first 8 bytes (little-endian) of SHA-256(layer name))
    word_j = mix(key + (j + 1) * 0x9E3779B97F4A7C15)          j = 0, 1, ...; all modulo 2^64
    mix(z) : z ^= z >> 30; z *= 0xBF58476D1CE4E5B9; z ^= z >> 27; z *= 0x94D049BB133111EB;
             z ^= z >> 31

    sign:     P.flat[64 j + b] = s if bit b (least significant first) of word_j is 1, else -s
    gaussian: P.flat[4 j + q]  = s * table[bits 16 q to 16 q + 15 of word_j]     (see normal_table)
    s = 1/sqrt(r), rounded to float32; the product is rounded to float32 once

Here torch does nothing but integer arithmetic and look-ups, so the bits are the same on every
device, library version, thread count and instruction set, and in any order of layers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedkrso_core.ops.normal_table import normal_table

Distribution = Literal["sign", "gaussian"]

NUMBERS_PER_WORD: dict[Distribution, int] = {"sign": 64, "gaussian": 4}

# numbers drawn in one pass: enough that the calls cost little, few enough for the cache
GROUP = 2**17

_MASK = 2**64 - 1


def _signed(value: int) -> int:
    """The 64-bit pattern as torch's int64, whose products wrap modulo 2^64 as needed."""
    value &= _MASK
    return value - 2**64 if value >= 2**63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_ROUNDS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, 1))


def projection(
    seed: int,
    layer: str,
    rank: int,
    d_in: int,
    device: torch.device | str = "cpu",
    *,
    distribution: Distribution = "sign",
) -> Tensor:
    """P (rank, d_in) in float32 for one subspace of one layer."""
    return projections(seed, {layer: d_in}, rank, device, distribution=distribution)[layer]


def projections(
    seed: int,
    layers: Mapping[str, int],
    rank: int,
    device: torch.device | str = "cpu",
    *,
    distribution: Distribution = "sign",
) -> dict[str, Tensor]:
    """P (rank, d_in) of each layer; `layers` gives each d_in by name."""
    scratch, drawn = Scratch(device), dict[str, Tensor]()
    for group in groups(layers, rank):
        part = stacked_projections([seed], group, rank, scratch, distribution=distribution)
        drawn |= {name: p.clone() for name, p in part.items()}
    return drawn


def groups(layers: Mapping[str, int], rows: int) -> Iterator[dict[str, int]]:
    """Layers a few at a time: about GROUP numbers in P of so many rows, or one layer with more."""
    group: dict[str, int] = {}
    for name, d_in in layers.items():
        if group and rows * (sum(group.values()) + d_in) > GROUP:
            yield group
            group = {}
        group[name] = d_in
    if group:
        yield group


class Scratch:
    """Memory for draws one after the other: fresh pages would cost more than the numbers do."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._kept: dict[torch.dtype, Tensor] = {}

    def take(self, count: int, dtype: torch.dtype) -> Tensor:
        """Any `count` numbers; what was taken before with this dtype is overwritten."""
        kept = self._kept.get(dtype)
        if kept is None or len(kept) < count:
            kept = self._kept[dtype] = torch.empty(count, dtype=dtype, device=self.device)
        return kept[:count]


def stacked_projections(
    seeds: Sequence[int],
    layers: Mapping[str, int],
    rank: int,
    scratch: Scratch,
    *,
    distribution: Distribution = "sign",
) -> dict[str, Tensor]:
    """[P_1; ..; P_K] (K rank, d_in) of each layer, one P per seed, in one flat pass.

    The bits are those of `projection`; many small calls would cost more than the numbers do. What
    is returned may lie in `scratch`, on its device, until the next draw.
    """
    per_word = NUMBERS_PER_WORD[distribution]
    words = [-(-rank * d_in // per_word) for d_in in layers.values()]
    drawn = _words(seeds, layers, words, scratch)
    expand = _signs if distribution == "sign" else _gaussians
    blocks = torch.split(expand(drawn, rank, scratch), [len(seeds) * n * per_word for n in words])
    return {
        name: _without_rest(block, len(seeds), rank * d_in).view(-1, d_in)
        for (name, d_in), block in zip(layers.items(), blocks, strict=True)
    }


def _without_rest(block: Tensor, seeds: int, count: int) -> Tensor:
    """(seeds * count,): the first `count` numbers of each seed, as its words may hold more."""
    if len(block) == seeds * count:
        return block
    return block.view(seeds, -1)[:, :count].reshape(-1)


def _words(
    seeds: Sequence[int], layers: Mapping[str, int], counts: Sequence[int], scratch: Scratch
) -> Tensor:
    """`counts` words of each layer for each seed, (len(seeds) * sum(counts),): layer by layer."""
    k, device = len(seeds), scratch.device
    steps = torch.arange(1, max(counts) + 1, device=device).mul_(_GOLDEN)
    upto = {count: steps[:count] for count in set(counts)}
    keys = _keys(seeds, layers, device).view(-1, k, 1).unbind()
    both = scratch.take(2 * k * sum(counts), torch.int64)
    words, shifted = both.chunk(2)
    for key, block, count in zip(
        keys, torch.split(words, [k * n for n in counts]), counts, strict=True
    ):
        torch.add(key, upto[count], out=block.view(k, count))
    return _mix(words, shifted)


def _keys(seeds: Sequence[int], layers: Mapping[str, int], device: torch.device) -> Tensor:
    """The keys (len(layers) * len(seeds),), layer by layer."""
    digests = [hashlib.sha256(layer.encode()).digest() for layer in layers]
    names = [_signed(int.from_bytes(digest[:8], "little")) for digest in digests]
    mine = torch.tensor([_signed(seed) for seed in seeds], device=device)
    z = (torch.tensor(names, device=device)[:, None] ^ mine).view(-1)
    return _mix(z, torch.empty_like(z))


def _mix(z: Tensor, shifted: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 words, in place; `shifted` is room for as many."""
    for shift, factor in _ROUNDS:
        # `>>` on int64 fills in the sign, hence the mask
        torch.bitwise_right_shift(z, shift, out=shifted).bitwise_and_(2 ** (64 - shift) - 1)
        z.bitwise_xor_(shifted)
        if factor != 1:
            z.mul_(factor)
    return z


def scale(rank: int) -> np.float32:
    """1/sqrt(rank), rounded to float32."""
    return np.float32(1 / math.sqrt(rank))


def _signs(words: Tensor, rank: int, scratch: Scratch) -> Tensor:
    """64 numbers of each word, +-scale by its bits, least significant first; changes `words`.

    A float32's sign is its top bit: each bit of the word, inverted, is shifted there, and the bits
    of the scale are put below. Faster than a table, and no float is ever computed.
    """
    inverted = words.bitwise_not_().view(torch.int32)
    up = torch.arange(31, -1, -1, dtype=torch.int32, device=words.device)
    bits = scratch.take(32 * len(inverted), torch.int32)
    torch.bitwise_left_shift(inverted[:, None], up, out=bits.view(-1, 32))
    bits.bitwise_and_(-(2**31)).bitwise_or_(int(scale(rank).view(np.int32)))
    return bits.view(torch.float32)


def _gaussians(words: Tensor, rank: int, scratch: Scratch) -> Tensor:
    """Four numbers of each word, by its 16-bit parts, least significant first."""
    table = torch.as_tensor(_scaled_table(rank), device=words.device)
    parts = scratch.take(4 * len(words), torch.int32).copy_(words.view(torch.int16))
    numbers = scratch.take(len(parts), torch.float32)
    return torch.index_select(table, 0, parts.bitwise_and_(0xFFFF), out=numbers)


@lru_cache(maxsize=4)
def _scaled_table(rank: int) -> NDArray[np.float32]:
    """scale * table, by numpy: a product of two float32 is rounded once, the same everywhere.

    No tensor is kept, since one made under a fake tensor mode would be of no use outside.
    """
    return normal_table() * scale(rank)
