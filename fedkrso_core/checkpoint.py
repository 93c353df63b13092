"""Checkpoints: the weights that a journal changed, as they are after one of its rounds.

A client that lacks many states may be sent these in their place, if they are fewer bytes. They are
the very numbers that the states lead to, so whoever takes a checkpoint goes on from the same bits
as whoever took the journal. The newest state is sent in any case: it says what to train in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fedkrso_core.encoding import encoded_bytes
from fedkrso_core.method import Method, shape_of
from fedkrso_core.payload import Payload


def checkpoint_of(method: Method, config: Any, model: nn.Module) -> Payload:
    """The checkpoint of the round whose global model is in `model` now."""
    assert method.changes is not None
    parameters = dict(model.named_parameters())
    return Payload({name: parameters[name] for name in method.changes(config, model)})


def checkpoint_bytes(method: Method, config: Any, model: nn.Module) -> int | None:
    """Length of a checkpoint's encoding, of any round; None where there are none.

    `model` needs no weights.
    """
    if method.changes is None:
        return None
    parameters = dict(model.named_parameters())
    names = method.changes(config, model)
    return encoded_bytes({name: shape_of(parameters[name]) for name in names}, {})


@torch.no_grad()
def put_into(model: nn.Module, checkpoint: Payload) -> None:
    """Writes a checkpoint over the base's weights."""
    parameters = dict(model.named_parameters())
    for name, tensor in checkpoint.tensors.items():
        parameters[name].copy_(tensor)


def replaced(lacked: range, size: Callable[[int], int], checkpoint: int | None) -> int | None:
    """The last of the lacked rounds whose states a checkpoint replaces; None if it pays for none.

    `size` gives the bytes of a round's state, `checkpoint` those of a checkpoint.
    """
    covered = lacked[:-1]
    if checkpoint is None or sum(map(size, covered)) <= checkpoint:
        return None
    return covered[-1]


def catch_up_bytes(lacked: range, size: Callable[[int], int], checkpoint: int | None) -> int:
    """What a client that lacks the states of these rounds downloads; arguments as of `replaced`."""
    if replaced(lacked, size, checkpoint) is None:
        return sum(map(size, lacked))
    assert checkpoint is not None
    return checkpoint + size(lacked[-1])
