"""Everything that a process needs to work on a job: data, partition, model, method.

Coordinator, workers and `simulate` all build the same Workload from the same job file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkrso_core import personal, server_step
from fedkrso_core.attached import detach
from fedkrso_core.batches import evaluation_batches, make_encoder, training_batches
from fedkrso_core.checkpoint import checkpoint_bytes, checkpoint_of
from fedkrso_core.coding import float_shapes, incoming, outgoing, own_memory
from fedkrso_core.data import Examples, load
from fedkrso_core.data.partition import divide
from fedkrso_core.errors import DataError, WrongModel
from fedkrso_core.evaluate import evaluate, evaluate_regression
from fedkrso_core.expect import Expected
from fedkrso_core.global_model import GlobalModel, StateRef
from fedkrso_core.job_method import method_of
from fedkrso_core.lean import lean_model
from fedkrso_core.lm_batches import LmEncoder
from fedkrso_core.lm_evaluate import evaluate_lm
from fedkrso_core.memory import measured
from fedkrso_core.method import Client, Method, Update
from fedkrso_core.models import load_model, load_tokenizer
from fedkrso_core.payload import Payload, overlaid
from fedkrso_core.seeds import derive, generator
from fedkrso_core.server_step import Aggregated
from fedkrso_core.spec import ByColumn, Dirichlet, JobSpec, Shards
from fedkrso_core.stale import Counted, in_one_round, still


@dataclass(frozen=True)
class Shares:
    """The job's rows: train, validation, and each client's share of train."""

    train: Examples
    validation: Examples
    rows: Sequence[np.ndarray] | Mapping[int, np.ndarray]  # by client

    @property
    def divided(self) -> Sequence[np.ndarray]:
        """The rows of each simulated client."""
        return [self.rows[client] for client in range(len(self.rows))]

    @cached_property
    def sha256(self) -> str:
        """Digest of both sets; equal on every machine that works on the job."""
        return f"{self.train.sha256[:32]}{self.validation.sha256[:32]}"


def shares_of(spec: JobSpec) -> Shares:
    """Loads the job's data and divides it among its clients."""
    column = spec.partition.column if isinstance(spec.partition, ByColumn) else None
    labelled = isinstance(spec.partition, Dirichlet | Shards)
    train, validation = load(spec.data, spec.seed, column, spec.task, labelled)
    count = spec.clients.shares
    rows = divide(train, spec.partition, count, spec.seed) if count else []
    return Shares(train, validation, rows)


def labels_of(spec: JobSpec, train: Examples) -> list[str]:
    """Names of the model's outputs; of causal-lm, labels only divide the rows."""
    return list(train.label_names) if spec.task == "classification" else []


@dataclass(frozen=True)
class Trained:
    """A client's update and what training it took."""

    update: Update
    peak_memory_bytes: int
    seconds: float


class Workload:
    """A job's data, model and method in one process; `folder` holds dense snapshots.

    `shares` are the rows of a client that has its own; else they are the job's.
    """

    def __init__(
        self, spec: JobSpec, folder: Path, device: torch.device, shares: Shares | None = None
    ) -> None:
        self.spec, self.device = spec, device
        self.method: Method = method_of(spec)
        self.config: Any = self.method.Config(**spec.method.options)
        self.shares = shares or shares_of(spec)
        names = self.shares.train.label_names
        model = load_model(spec.model, names, spec.seed, spec.task).to(device)
        self.tokenizer = load_tokenizer(spec.model)
        self.encoder = make_encoder(spec.task, self.tokenizer, spec.local.max_length, device)
        self.global_model = GlobalModel(self.method, self.config, model, folder)

    def require_data(self, sha256: str) -> None:
        """DataError unless this machine's data is that of the job."""
        if self.shares.sha256 != sha256:
            raise DataError(
                f"{self.spec.data.train!r} here has the digest {self.shares.sha256[:12]}, the job "
                f"was submitted with {sha256[:12]}: give all machines the same data"
            )

    def require_base(self, sha256: str | None, name: str | None = None) -> None:
        """WrongModel unless the base model here is that of the job, if it is known which it is.

        `name` is what the job calls it. The digest was computed when the model was loaded.
        """
        own, called = self.global_model.base_sha256, name or self.spec.model
        if sha256 is not None and sha256 != own:
            told = f"the model {called!r} here has the digest {own}, the job's has {sha256}"
            raise WrongModel(told)

    @cached_property
    def checkpoint_bytes(self) -> int | None:
        """Length of a checkpoint, of any round; None where the method has none."""
        return checkpoint_bytes(self.method, self.config, self.global_model.model)

    def checkpoint(self, chain: Sequence[StateRef]) -> Payload:
        """The checkpoint of the last round of the chain."""
        return checkpoint_of(self.method, self.config, self.global_model.materialize(chain))

    def reference(self, state: Payload) -> Payload:
        """What a client that begins with this state would send of its values without a step.

        Nothing where they are sent as changes anyway.
        """
        if self.spec.wire.rounds:
            return Payload()
        return still(self.method, self.config, self.global_model.untrained(), state)

    def initial_state(self) -> Payload:
        """State 0."""
        return self.method.init(self.config, self.global_model.model, self.spec.seed)

    def train(
        self,
        chain: Sequence[StateRef],
        client: int,
        round_number: int,
        on_step: Callable[[int], None] = lambda _: None,
        memory: Payload | None = None,
    ) -> Trained:
        """A client's round: from the global model of the chain and its memory to its update."""
        received = self.global_model.newest(chain)
        self.global_model.for_training(chain)
        torch.manual_seed(derive(self.spec.seed, "dropout", round_number, client))
        began_with = memory or Payload()
        who = replace(self._client(client, round_number, on_step), memory=own_memory(began_with))
        began = time.perf_counter()
        local = self.spec.local
        with lean_model(self.global_model.model, local), measured(self.device) as peak:
            update = self.method.train(self.config, self.global_model.model, received, who)
        seconds = round(time.perf_counter() - began, 3)
        if self.method.is_personal and personal.measures(self.spec, round_number):
            update = self._measured(chain, received, update, lambda: on_step(local.steps))
        if self.spec.wire.rounds:
            update = self._coded(chain, update, who, began_with)
        return Trained(update, peak.bytes, seconds)

    def _coded(
        self,
        chain: Sequence[StateRef],
        update: Update,
        who: Client,
        began_with: Payload,
    ) -> Update:
        """The update as it travels; what rounding left out is in its memory."""
        update = _apart(update)
        self.global_model.for_training(chain)
        model, last = self.global_model.model, chain[-1].fetch()  # as the server has it
        reference = self.method.reference(self.config, model, last)
        return outgoing(self.spec.wire, update, who, began_with, reference)

    def _measured(
        self,
        chain: Sequence[StateRef],
        received: Payload,
        update: Update,
        before_batch: Callable[[], None],
    ) -> Update:
        """The update with the metrics of the client's own model."""
        update = _apart(update)
        own = self.method.aggregate(self.config, received, [update])
        if self.method.window is not None:
            own = overlaid([received, own])
        self.global_model.personalize(chain, own, update.memory)
        found = self.evaluate(before_batch, self._own_validation)
        detach(self.global_model.model)
        metrics = {f"{personal.OWN}{name}": value for name, value in found.items()}
        return replace(update, metrics={**update.metrics, **metrics})

    @cached_property
    def _own_validation(self) -> Examples:
        """The rows that every client measures its own model on."""
        everything, most = self.shares.validation, self.spec.evaluate.own_rows
        if most is None or most >= len(everything):
            return everything
        rng = generator(self.spec.seed, "own-validation")
        return everything.select(sorted(rng.permutation(len(everything))[:most]))

    def _client(self, client: int, round_number: int, on_step: Callable[[int], None]) -> Client:
        local, rows = self.spec.local, self.shares.rows[client]
        rng = generator(self.spec.seed, "batches", round_number, client)
        return Client(
            id=client,
            round=round_number,
            seed=self.spec.seed,
            local=local,
            num_examples=len(rows),
            batches=lambda: training_batches(
                self.encoder, self.shares.train, rows, local.steps, local.batch_size, rng
            ),
            on_step=on_step,
        )

    def aggregate(
        self, state: Payload, counted: Iterable[Counted], server: Payload | None = None
    ) -> Aggregated:
        """The state after a round, of that before it and the updates in order of clients.

        `server` is what the server's optimizer remembers, nothing before round 1.
        """
        base, rounds, step = self.global_model.untrained, self.spec.rounds, self.spec.server
        if self.spec.wire.rounds:
            counted = map(self._restorer(state), counted)
        updates = in_one_round(self.method, self.config, rounds, base, state, counted)
        model = base() if step.steps else None
        memory = server or Payload()
        return server_step.aggregate(step, self.method, self.config, model, state, updates, memory)

    def _restorer(self, state: Payload) -> Callable[[Counted], Counted]:
        """Gives updates that travelled with fewer bits their numbers back."""

        @cache
        def known(staleness: int) -> tuple[Expected, Mapping[str, Tensor]]:
            first = begun[staleness]() if staleness else state
            model = self.global_model.untrained()
            expected = self.method.expect(self.config, model, first)
            return expected, self.method.reference(self.config, model, first)

        begun: dict[int, Callable[[], Payload]] = {}

        def restored(one: Counted) -> Counted:
            begun.setdefault(one.staleness, one.began)

            def update() -> Update:
                expected, reference = known(one.staleness)
                shapes = float_shapes(expected.of_client(one.client))
                return incoming(self.spec.wire.dtype, one.update(), shapes, reference)

            return replace(one, update=update)

        return restored

    def evaluate(
        self, before_batch: Callable[[], None] = lambda: None, rows: Examples | None = None
    ) -> dict[str, float]:
        """Metrics, on the validation rows or others, of the model that was put together last."""
        model, how = self.global_model.model, self.spec.evaluate
        chosen = self.shares.validation if rows is None else rows
        if isinstance(self.encoder, LmEncoder):
            return evaluate_lm(model, self.encoder, chosen, how, before_batch)
        batches = evaluation_batches(self.encoder, chosen, how.batch_size)
        measure = evaluate_regression if self.spec.task == "regression" else evaluate
        return measure(model, batches, before_batch)


def _apart(update: Update) -> Update:
    """The update with tensors of its own: those of a method may be the model's very parameters."""

    def copies(payload: Payload) -> Payload:
        return replace(payload, tensors={n: t.detach().clone() for n, t in payload.tensors.items()})

    return replace(update, upload=copies(update.upload), memory=copies(update.memory))
