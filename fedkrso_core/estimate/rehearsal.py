"""A client's round played with tensors that have shapes but no values: seconds, and no weights.

The method's own `train` runs for a few steps under FakeTensorMode, on a model that is built from
its config alone, with everything that `local` asks for. What it would allocate and compute is
recorded. Nothing in it is particular to a method.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from fedkrso_core.errors import CoreError, MethodError, ModelError
from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.operations import Operation, Operations
from fedkrso_core.estimate.tracker import LiveTensors, NoValues, Part
from fedkrso_core.lean import lean_model
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec
from fedkrso_core.stale import taken


@dataclass(frozen=True)
class Rehearsal:
    """What a short round showed; `update` has tensors without values."""

    update: Update
    received_bytes: int  # tensors of the state that was received
    peak_bytes: int
    parts: Mapping[Part, int]  # of the peak
    steps: Sequence[Counter[Operation]]  # the operators of each step


class _Record:
    """Feeds a round with batches and writes down what it does."""

    def __init__(self, model: nn.Module, device: torch.device, batch: Batch) -> None:
        self.live, self.operations = LiveTensors(device), Operations()
        self.steps: list[Counter[Operation]] = []
        self._model, self._device, self._batch = model, device, batch

    def batches(self, count: int) -> Callable[[], Iterator[dict[str, Tensor]]]:
        """As `Client.batches` wants it."""
        return lambda: (self._next() for _ in range(count))

    def _next(self) -> dict[str, Tensor]:
        with self._device:
            made = self._batch.make()
        self.live.count(made.values(), "activations")
        self.operations.counts.clear()
        return made

    def on_step(self, _: int) -> None:
        """After a step: what is alive now stays alive between steps."""
        self.steps.append(self.operations.counts.copy())
        self.live.count(self._model)  # with what the method put into it
        self.live.tag_rest("optimizer")


@contextmanager
def _answered(error: type[CoreError]) -> Iterator[None]:
    """Turns torch's complaint that something depends on values into a CoreError."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as cause:
        message = f"cannot be forecast: {cause.func} depends on the values of tensors"
        raise error(message) from cause


class Rehearser:
    """Plays rounds of one model on one device; `build` makes the model as training has it.

    On a machine without CUDA only the CPU can be rehearsed: torch takes other attention kernels
    where it is built without CUDA.
    """

    def __init__(self, build: Callable[[], nn.Module], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        # numpy arrays become tensors that are not fake: let them become so when they are used
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        # 0: some initialisers draw again while any number is out of bounds
        with _answered(ModelError), self._fake, NoValues(0), self.device:
            self.model = build()

    def play(
        self,
        method: Method,
        config: Any,
        local: LocalSpec,
        batch: Batch,
        steps: int = 2,
        received: Payload | None = None,
        memory: Payload | None = None,
    ) -> Rehearsal:
        """A short round, round 1 unless a state was received; MethodError if it cannot be done.

        The second step is the first that has all the optimizer's states.
        """
        short = local.model_copy(update={"steps": min(steps, local.steps)})
        record = _Record(self.model, self.device, batch)
        feed = record.batches(short.steps)
        kept = memory or Payload()
        client = Client(0, 1, 0, short, batch.rows, feed, kept, record.on_step)
        with _answered(MethodError), self._fake, NoValues(), lean_model(self.model, short):
            if received is None:
                received = method.init(config, self.model, client.seed)
            with record.live, record.operations:
                record.live.count(self.model)
                record.live.count([*received.tensors.values(), *kept.tensors.values()])
                update = method.train(config, self.model, received, client)
        held = sum(tensor.nbytes for tensor in received.tensors.values())
        live = record.live
        return Rehearsal(update, held, live.peak_bytes, live.at_peak(), record.steps)

    def next_state(self, method: Method, config: Any, update: Update) -> Payload:
        """The state after round 1 if this is its only update."""
        with self._fake, NoValues():
            first = method.init(config, self.model, 0)
            fresh = taken(method, config, lambda: self.model, first, update)
            return method.aggregate(config, first, [fresh])
