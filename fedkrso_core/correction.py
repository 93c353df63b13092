"""What a client adds to its gradients, so that its steps do not drift from those of the others.

`Client.correction` is one of these for one training: `begin` is called once with the trained
parameters, by the names that the upload gives them, `add` after each backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

Named = Mapping[str, nn.Parameter]


class Correction(Protocol):
    """Corrects the gradients of a client's steps."""

    @property
    def pull(self) -> float:
        """mu of fedprox, for methods whose parameters are not what they change; else 0."""

    def begin(self, named: Named) -> None:
        """The parameters, where training begins."""

    def add(self) -> None:
        """Adds to their gradients."""


@dataclass(frozen=True)
class Uncorrected:
    """Adds nothing."""

    pull: float = 0.0

    def begin(self, named: Named) -> None:
        """Nothing."""

    def add(self) -> None:
        """Nothing."""


@dataclass
class Proximal:
    """g + mu (w - w^t), the gradient of F(w) + mu/2 |w - w^t|^2.

    FedProx: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, arXiv 1812.06127, Algorithm 2.
    """

    pull: float
    _pairs: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)

    def begin(self, named: Named) -> None:
        """Keeps a copy of each."""
        self._pairs = [(p, p.detach().clone()) for p in named.values()]

    @torch.no_grad()
    def add(self) -> None:
        """Pulls each back to where it began."""
        for parameter, start in self._pairs:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=self.pull)


@dataclass
class OfNames:
    """Another correction, of the parameters alone whose names begin so."""

    correction: Correction
    prefix: str

    @property
    def pull(self) -> float:
        """That of the other."""
        return self.correction.pull

    def begin(self, named: Named) -> None:
        """The other sees these."""
        own = {name: p for name, p in named.items() if name.startswith(self.prefix)}
        self.correction.begin(own)

    def add(self) -> None:
        """As the other."""
        self.correction.add()


@dataclass
class Controls:
    """g + c - c_i; `shift` is c - c_i by name, zero where it has none (see `corrected`)."""

    shift: Mapping[str, Tensor]
    start: dict[str, Tensor] = field(default_factory=dict)
    pull: float = 0.0
    _named: Named = field(default_factory=dict)

    def begin(self, named: Named) -> None:
        """Keeps a copy of each in `start`."""
        self._named = named
        self.start = {name: p.detach().clone() for name, p in named.items()}

    @torch.no_grad()
    def add(self) -> None:
        """Shifts the gradients."""
        for name, shift in self.shift.items():
            grad = self._named[name].grad
            if grad is not None:
                grad.add_(shift.to(grad))
