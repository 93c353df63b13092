"""A method whose training does nothing, and the service's programs with it in their registry.

It is for measuring everything but training: each client downloads a state of `kilobytes` and
uploads as much; the server averages. The programs are the service's own:

    uvicorn noop:api    celery -A noop:coordinator    celery -A noop:worker

The method is no part of the service; only these processes know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import nn

from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.methods import METHODS
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """Options."""

    kilobytes: int = Field(1000, ge=1, description="Size of an update and of a state, 1000 bytes")


def _numbers(config: Config) -> int:
    return config.kilobytes * 250  # float32


def _check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """Every job can run."""


def _init(config: Config, model: nn.Module, seed: int) -> Payload:
    return Payload({"w": torch.zeros(_numbers(config))}, {"seed": seed})


def _expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    return Expected(required=Group(tensors={"w": ("F32", (_numbers(config),))}))


def _train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    client.on_step(1)
    return Update(Payload({"w": received.tensors["w"] + 1.0}), client.num_examples, {"loss": 0.0})


def _aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    return Payload(mean_of_uploads(updates), dict(state.scalars))


def _materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """The model stays as it is."""


METHODS["noop"] = Method(
    name="noop",
    title="Nothing",
    paper="none",
    Config=Config,
    journal=False,
    init=_init,
    check=_check,
    expect=_expect,
    train=_train,
    aggregate=_aggregate,
    materialize=_materialize,
)


def __getattr__(name: str) -> Any:
    """The programs; each process loads its own alone."""
    if name == "api":
        from api.main import app
    elif name == "coordinator":
        from api.coordinator.app import app
    elif name == "worker":
        from worker.tasks import app
    else:
        raise AttributeError(name)
    return app
