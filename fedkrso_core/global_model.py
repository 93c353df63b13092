"""The global model of any round: the base plus the journal of states, in one model object.

The base's weights, and the dense weights of the newest round that was put together, lie as
safetensors files in a folder, so that each client starts from the very same bits and no second
copy is held in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from fedkrso_core.attached import detach
from fedkrso_core.checkpoint import put_into
from fedkrso_core.method import Method, window_of
from fedkrso_core.models import weights_of
from fedkrso_core.payload import Payload, overlaid, tensors_sha256

_KEEP = 2


@dataclass(frozen=True)
class StateRef:
    """A state of the journal: its digest, and how to get it.

    `checkpoint`: how to get the checkpoint of its round, if it is here. The states up to that one
    need not be.
    """

    digest: str
    fetch: Callable[[], Payload]
    checkpoint: Callable[[], Payload] | None = None


def marks(base: str, digests: Iterable[str]) -> Iterator[str]:
    """A name for each prefix of a journal: of the base and the states before it."""
    running = hashlib.sha256(base.encode())
    for digest in digests:
        running.update(digest.encode())
        yield running.hexdigest()[:32]


class GlobalModel:
    """Puts rounds of the global model into `model`, which it owns."""

    def __init__(self, method: Method, config: Any, model: nn.Module, folder: Path) -> None:
        self.method, self.config, self.model = method, config, model
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.base_sha256 = tensors_sha256(weights_of(model))
        self._base = folder / f"base-{self.base_sha256[:32]}.safetensors"
        self._save(self._base)

    def for_training(self, chain: Sequence[StateRef]) -> None:
        """The model that `train` is handed: the base, or with a journal the global model."""
        if self.method.journal:
            self._replay(chain)
        else:
            self._restore(self._base)

    def untrained(self) -> nn.Module:
        """The base model, as state 0 has it."""
        self._restore(self._base)
        return self.model

    def materialize(self, chain: Sequence[StateRef]) -> nn.Module:
        """The global model after the last state of the chain."""
        if self.method.journal:
            self._replay(chain)
        else:
            self._restore(self._base)
            self.method.materialize(self.config, self.model, self.newest(chain))
        return self.model

    def personalize(self, chain: Sequence[StateRef], state: Payload, memory: Payload) -> nn.Module:
        """The own model of a client with this memory, of a state that follows on the chain."""
        assert self.method.personalize is not None
        self.for_training(chain)
        self.method.personalize(self.config, self.model, state, memory)
        return self.model

    def newest(self, chain: Sequence[StateRef]) -> Payload:
        """The last state; where states hold only what changed, with what still holds of others."""
        count = window_of(self.method, self.config)
        return overlaid(state.fetch() for state in chain[-count:])

    def sha256(self) -> str:
        """Digest of the weights that are in the model now."""
        return tensors_sha256(weights_of(self.model))

    def _replay(self, chain: Sequence[StateRef]) -> None:
        """Applies states one after the other from the newest snapshot; never in one go.

        One state at a time is what every client does, and sums depend on the order in the last
        bit: so all of them end in the same weights.
        """
        paths = self._snapshots(chain)
        applied = self._restore_newest(paths, chain)
        for state in chain[applied:]:
            self.method.materialize(self.config, self.model, state.fetch())
        if applied < len(chain):
            self._save(paths[-1])
            self._forget_all_but(paths[-_KEEP:])

    def _restore_newest(self, paths: Sequence[Path], chain: Sequence[StateRef]) -> int:
        """Restores the longest prefix that lies here as weights; returns how many states it holds.

        Those are snapshots, and checkpoints.
        """
        for count in range(len(paths), 0, -1):
            try:  # not exists(): another process that shares the folder may remove it meanwhile
                self._restore(paths[count - 1])
            except FileNotFoundError:
                if (checkpoint := chain[count - 1].checkpoint) is None:
                    continue
                self._restore(self._base)
                put_into(self.model, checkpoint())
            return count
        self._restore(self._base)
        return 0

    def _snapshots(self, chain: Sequence[StateRef]) -> list[Path]:
        """A path for each prefix of the chain, named by the base and the states before it."""
        named = marks(self._base.name, (state.digest for state in chain))
        return [self._folder / f"round-{mark}.safetensors" for mark in named]

    def _forget_all_but(self, keep: Sequence[Path]) -> None:
        for path in self._folder.glob("round-*.safetensors"):
            if path not in keep:
                path.unlink(missing_ok=True)

    def _save(self, path: Path) -> None:
        if path.exists():
            return
        part = path.with_suffix(f".{os.getpid()}.part")
        weights = {
            name: t.detach().to("cpu").contiguous() for name, t in weights_of(self.model).items()
        }
        try:
            save_file(weights, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)  # a full disk must not be kept full by half a file

    @torch.no_grad()
    def _restore(self, path: Path) -> None:
        detach(self.model)
        own = weights_of(self.model)
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                own[name].copy_(file.get_tensor(name))
