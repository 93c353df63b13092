"""A method and a workload so small that a whole job takes milliseconds: states are two numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from api.coordinator.store import Store
from api.db.tables import Job
from fedkrso_core.expect import Expected, Group
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.payload import Payload
from fedkrso_core.server_step import Aggregated
from fedkrso_core.spec import JobSpec, LocalSpec
from fedkrso_core.stale import Counted, in_one_round


def _init(config: Any, model: nn.Module, seed: int) -> Payload:
    return Payload({"w": torch.zeros(2)}, {"seed": seed})


def _check(config: Any, model: nn.Module, local: LocalSpec) -> None:
    pass


def _expect(config: Any, model: nn.Module, state: Payload) -> Expected:
    return Expected(required=Group(tensors={"w": ("F32", (2,))}))


def _train(config: Any, model: nn.Module, received: Payload, client: Client) -> Update:
    raise NotImplementedError("toy clients do not train, they hand in what a test gives them")


def _aggregate(config: Any, state: Payload, updates: Iterable[Update]) -> Payload:
    return Payload(mean_of_uploads(updates), dict(state.scalars))


def _materialize(config: Any, model: nn.Module, state: Payload) -> None:
    pass


def _rebase(
    config: Any, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
) -> Update:
    tensors = {name: t * weight for name, t in update.upload.tensors.items()}
    return replace(update, upload=replace(update.upload, tensors=tensors))


TOY = Method(
    name="toy",
    title="Toy",
    paper="none",
    Config=MethodConfig,
    journal=True,
    init=_init,
    expect=_expect,
    train=_train,
    aggregate=_aggregate,
    materialize=_materialize,
    check=_check,
    rebase=_rebase,
)


class ToyModel:
    """The sum of the states that were put together last."""

    def __init__(self) -> None:
        self.model: Any = None
        self.base_sha256 = "0" * 64
        self.total = torch.zeros(2)

    def materialize(self, chain: Sequence[StateRef]) -> None:
        self.total = sum((s.fetch().tensors["w"] for s in chain), torch.zeros(2))

    def sha256(self) -> str:
        return hashlib.sha256(self.total.numpy().tobytes()).hexdigest()


class ToyWorkload:
    def __init__(self, spec: JobSpec) -> None:
        self.spec, self.method, self.config = spec, TOY, MethodConfig()
        self.global_model = ToyModel()
        self.checkpoint_bytes = None

    def aggregate(
        self, state: Payload, counted: Iterable[Counted], server: Payload | None = None
    ) -> Aggregated:
        updates = in_one_round(TOY, self.config, self.spec.rounds, object, state, counted)
        return Aggregated(TOY.aggregate(self.config, state, updates), server)

    def reference(self, _state: Payload) -> Payload:
        return Payload()

    def initial_state(self) -> Payload:
        return TOY.init(self.config, self.global_model.model, self.spec.seed)

    def evaluate(self, before_batch: Callable[[], None] = lambda: None) -> dict[str, float]:
        before_batch()
        return {"accuracy": 0.5, "loss": 1.0}


class ToyStore(Store):
    """The coordinator's store with toy workloads; `before` runs whenever one is asked for."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.before = before

    def workload(self, job: Job) -> Any:
        self.before()
        return ToyWorkload(JobSpec.model_validate(job.spec))
