"""What a method puts beside a model's weights, because it cannot be merged into them.

Soft prompts, prefixes and bottleneck adapters change what the forward pass computes, not W. An
attachment is a module of the model's body, so that its parameters are among the model's weights
(and in their digest), and hooks that let the forward pass use it. The model's own modules stay as
and where they are. `Method.materialize` attaches; putting any other state in detaches first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from torch.utils.hooks import RemovableHandle

NAME = "attached"


class Attachment(nn.Module, ABC):
    """Parameters beside those of a model, and the hooks that use them."""

    positions = 0  # that it takes before those of a text
    folder = "adapter"  # what `save` writes into the output folder
    needs_base = True  # to be loaded; else the folder has all weights

    def __init__(self) -> None:
        super().__init__()
        self.handles: list[RemovableHandle] = []

    @abstractmethod
    def hook(self, model: nn.Module) -> list[RemovableHandle]:
        """Registers the hooks."""

    @abstractmethod
    def save(self, model: nn.Module, out: Path, base: str) -> None:
        """Writes `folder` into `out`; it loads without this package.

        `model` is the one that this was attached to, `base` the name of its checkpoint.
        """

    @abstractmethod
    def loading(self, auto: str, base: str, options: str) -> list[str]:
        """Lines of Python that load what was saved.

        `auto` is transformers' class for the task, `options` what it must be told of the base.
        """


def body_of(model: nn.Module) -> nn.Module:
    """The pretrained part, which every head of transformers has under its `base_model_prefix`."""
    return getattr(model, getattr(model, "base_model_prefix", ""), model)


def attachment_of(model: nn.Module) -> Attachment | None:
    """What is attached now."""
    found = getattr(body_of(model), NAME, None)
    return found if isinstance(found, Attachment) else None


def positions_before(model: nn.Module) -> int:
    """Positions that are taken before a text's first token."""
    found = attachment_of(model)
    return 0 if found is None else found.positions


def attach(model: nn.Module, attachment: Attachment) -> None:
    """Puts the attachment in the place of the one that is there."""
    detach(model)
    body_of(model).add_module(NAME, attachment)
    attachment.handles = attachment.hook(model)


def detach(model: nn.Module) -> Attachment | None:
    """Takes the attachment out and returns it."""
    found = attachment_of(model)
    if found is not None:
        for handle in found.handles:
            handle.remove()
        found.handles = []
        delattr(body_of(model), NAME)
    return found


@contextmanager
def attached(model: nn.Module, attachment: Attachment) -> Iterator[None]:
    """Attaches inside the block."""
    attach(model, attachment)
    try:
        yield
    finally:
        detach(model)


@contextmanager
def detached(model: nn.Module) -> Iterator[Attachment | None]:
    """Takes the attachment out inside the block; puts it back at the end."""
    found = detach(model)
    try:
        yield found
    finally:
        if found is not None:
            attach(model, found)
