"""Updates on their way with fewer bits, and what rounding leaves out.

A tensor that means the same in every round (a weight, a factor) is sent as what the client changed
of it, x - x_0 with x_0 what it received, so that the bits are spent on the change alone:

    client:  y = Q(x - x_0 + e) ;  e <- (x - x_0 + e) - y          server:  x = x_0 + y

e is the error feedback (Seide et al., Interspeech 2014; Karimireddy et al., arXiv 1901.09847, of
which this is Algorithm 1 with local steps in the place of a gradient): it stays in the client's
memory, and the sum over many rounds of what arrives is that of what was sent, up to the last e.

A tensor that belongs to its round alone, such as FedKRSO's accumulators along seeds that are drawn
anew, has no next round for its e. It is rounded at random instead, so that what arrives is right
on average: E[Q(x)] = x. Its generator derives from the job's seed, round, client and name.

`Method.reference` tells the two kinds apart. With error_feedback: false all is rounded to the
nearest, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkrso_core.expect import Expected
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.wire import Shapes, compress, restore
from fedkrso_core.wire_spec import WireDtype, WireSpec

_KEPT = "error_feedback/"


def with_wire(method: Method, wire: WireSpec) -> Method:
    """The method, whose expected uploads say the form that they travel in."""

    def expect(config: Any, model: nn.Module, state: Payload) -> Expected:
        return method.expect(config, model, state).model_copy(update={"wire": wire})

    return replace(method, expect=expect)


def own_memory(memory: Payload) -> Payload:
    """What of a client's memory is the method's."""
    tensors = {n: t for n, t in memory.tensors.items() if not n.startswith(_KEPT)}
    return replace(memory, tensors=tensors)


def outgoing(
    wire: WireSpec,
    update: Update,
    client: Client,
    memory: Payload,
    reference: Mapping[str, Tensor],
) -> Update:
    """The update as it travels; `memory` is what the client began with, error feedback and all."""
    left = memory.under(_KEPT) if wire.error_feedback else {}
    sent = {n: _change(n, t, reference, left) for n, t in update.upload.tensors.items()}
    where = (client.seed, "wire", client.round, client.id)

    def draw(name: str) -> np.random.Generator | None:
        at_random = wire.error_feedback and wire.dtype != "bf16" and name not in reference
        return generator(*where, name) if at_random else None

    upload = compress(replace(update.upload, tensors=sent), wire.dtype, draw)
    if not wire.error_feedback:
        return replace(update, upload=upload)
    shapes = {n: tuple(t.shape) for n, t in sent.items() if t.dtype == torch.float32}
    arrives = restore(upload, wire.dtype, shapes).tensors
    kept = {f"{_KEPT}{n}": sent[n] - arrives[n] for n in sent if n in reference}
    tensors = {**update.memory.tensors, **kept}
    return replace(update, upload=upload, memory=replace(update.memory, tensors=tensors))


def incoming(
    dtype: WireDtype, update: Update, shapes: Shapes, reference: Mapping[str, Tensor]
) -> Update:
    """The update that travelled, as the method's client half returned it, up to rounding."""
    upload = restore(update.upload, dtype, shapes)
    tensors = {
        name: reference[name].detach().to(tensor) + tensor if name in reference else tensor
        for name, tensor in upload.tensors.items()
    }
    return replace(update, upload=replace(upload, tensors=tensors))


def float_shapes(expected: Expected) -> Shapes:
    """Shapes of the float32 tensors that an upload may hold."""
    groups = (expected.required, *expected.optional.values())
    both = [item for group in groups for item in group.tensors.items()]
    return {name: tuple(shape) for name, (dtype, shape) in both if dtype == "F32"}


def _change(
    name: str, tensor: Tensor, reference: Mapping[str, Tensor], left: Mapping[str, Tensor]
) -> Tensor:
    x = tensor.detach().cpu()
    if name in reference:
        x = x - reference[name].detach().to(x)
    return x + left[name] if name in left else x
