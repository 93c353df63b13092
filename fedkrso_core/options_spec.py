"""Options of a job that go with any method: server optimizer, client correction, weighting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from fedkrso_core.strict import Strict

ServerOptimizer = Literal["none", "fedavgm", "fedadam", "fedyogi", "fedadagrad"]
CorrectionKind = Literal["none", "fedprox", "scaffold"]
Weighting = Literal["examples", "uniform"]


class ServerSpec(Strict):
    """What the server makes of the mean of a round's updates (see `ops.server_optimizer`)."""

    optimizer: ServerOptimizer = Field(
        "none", description="none: the mean itself is the new model; the others take it for a step"
    )
    lr: float | None = Field(
        None, gt=0, description="Size of the step; empty: 1 of fedavgm, 0.01 of the others"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Momentum")
    beta2: float = Field(
        0.99, ge=0, lt=1, description="fedadam, fedyogi: how long squares are remembered"
    )
    tau: float = Field(1e-3, gt=0, description="All but fedavgm: what is added to the root")

    @field_validator("lr")
    @classmethod
    def _steps(cls, lr: float | None, info: ValidationInfo) -> float | None:
        if lr is not None and info.data.get("optimizer") == "none":
            raise ValueError(f"{lr:g}: server.optimizer is none, which takes no step; leave it out")
        return lr

    @property
    def steps(self) -> bool:
        """Whether there is an optimizer."""
        return self.optimizer != "none"

    @property
    def step_size(self) -> float:
        """`lr` with its default."""
        return self.lr if self.lr is not None else 1.0 if self.optimizer == "fedavgm" else 0.01

    @property
    def remembers(self) -> bool:
        """Whether a step depends on the rounds before it."""
        return self.steps and not (self.optimizer == "fedavgm" and self.beta1 == 0)


class CorrectionSpec(Strict):
    """What a client adds to its gradients so that it does not drift from the others."""

    kind: CorrectionKind = Field(
        "none", description="fedprox: a pull back to the round's model; scaffold: control variates"
    )
    mu: float = Field(0.01, ge=0, description="fedprox: strength of the pull")
