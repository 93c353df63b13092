"""Rounding to bfloat16 up or down at random, so that small changes survive in the mean.

bfloat16 is the upper half of a float32. Adding a uniform 16-bit integer to the float32's bits
before the lower half is cut off rounds up with the probability of the part cut off: the
expectation is the float32 itself. (Gupta et al., arXiv 1502.02551, section 3.)
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOWER_HALF = 0xFFFF


def round_to_bf16(values: Tensor, seed: int) -> Tensor:
    """float32 values of any shape in bfloat16; the seed decides, torch's own generators do not."""
    generator = torch.Generator(values.device).manual_seed(seed)
    noise = torch.empty_like(values, dtype=torch.int32)
    noise.random_(0, _LOWER_HALF + 1, generator=generator)
    bits = (values.contiguous().view(torch.int32) + noise) & ~_LOWER_HALF
    return bits.view(torch.float32).to(torch.bfloat16)  # exact: the lower half is zero
