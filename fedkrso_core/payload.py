"""Payload: the only container that moves between server and client or rests on disk.

Its encoding is safetensors with the scalars as JSON in the metadata (see `header`). Equal payloads
have equal encodings, so an encoding can be addressed by its SHA-256, and the bytes that the
product reports are the lengths of encodings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedkrso_core.errors import PayloadError
from fedkrso_core.header import header_length, parse_header


@dataclass(frozen=True)
class Payload:
    """Named tensors and JSON scalars."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    scalars: Mapping[str, Any] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix`, by the rest of their name."""
        found = {n: t for n, t in self.tensors.items() if n.startswith(prefix)}
        return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def overlaid(payloads: Iterable[Payload]) -> Payload:
    """The newest tensor of each name, and the scalars of the last payload; oldest first."""
    tensors, scalars = dict[str, Tensor](), dict[str, Any]()
    for payload in payloads:
        tensors.update(payload.tensors)
        scalars = dict(payload.scalars)
    return Payload(tensors, scalars)


def encode(payload: Payload) -> bytes:
    """The payload as bytes: the same payload always gives the same bytes."""
    try:
        scalars = json.dumps(payload.scalars, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PayloadError(f"payload scalars are not JSON: {error}") from None
    tensors = {n: t.detach().to("cpu").contiguous() for n, t in payload.tensors.items()}
    encoded: bytes = save(tensors, {"scalars": scalars})
    return encoded


def decode(data: bytes) -> Payload:
    """The payload of an encoding, or PayloadError; never allocates more than the bytes hold."""
    raw = data[8 : 8 + header_length(data[:8], len(data))]
    header = parse_header(raw, len(data))
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise PayloadError(f"payload is not safetensors: {error}") from None
    return Payload(tensors, header.scalars)


def digest(data: bytes) -> str:
    """SHA-256 of an encoding, hex."""
    return hashlib.sha256(data).hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Digest of tensors by name, dtype, shape and bytes, whatever file they came from."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
