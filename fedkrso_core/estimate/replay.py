"""Exact bytes of a job whose shapes vary: every upload and every state is made, without values.

For methods whose payloads change from round to round or with who takes part (`Method.varies`).
`traffic` needs a state only from one upload of each kind; here each round's `expect`, `rebase` and
`aggregate` are run on tensors on the meta device, for every client, so that nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from fedkrso_core import engine
from fedkrso_core.checkpoint import catch_up_bytes, checkpoint_bytes
from fedkrso_core.encoding import data_bytes, encoded_bytes
from fedkrso_core.estimate.tracker import NoValues
from fedkrso_core.estimate.traffic import TYPICAL, Visit, own_metrics, travelling, visits_of
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, Update, dtype_of, shape_of, window_of
from fedkrso_core.payload import Payload, overlaid
from fedkrso_core.spec import JobSpec
from fedkrso_core.stale import taken
from fedkrso_core.virtual import VirtualRounds, drawn


@dataclass
class Replay:
    """Who sends what to whom in a job; arguments as of `traffic.Exchange`."""

    method: Method
    config: Any
    spec: JobSpec
    model: nn.Module
    num_examples: Sequence[int]
    sample: Update
    _states: list[Payload] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _begun: dict[tuple[int, int], Visit] = field(default_factory=dict)
    _updates: dict[tuple[int, int], Update] = field(default_factory=dict)
    _have: dict[int, int] = field(default_factory=dict)

    def visits(self) -> list[list[Visit]]:
        """What each client of each round sends and gets."""
        self._keep(self.method.init(self.config, self.model, self.spec.seed))
        clock = VirtualRounds(self.spec, drawn(self.spec.seed))
        rounds = range(1, self.spec.rounds.count + 1)
        with NoValues():
            return [self._round(number, clock) for number in rounds]

    def _round(self, number: int, clock: VirtualRounds) -> list[Visit]:
        clock.give_up(number)
        clients = engine.participants(
            self.method, self.config, self.spec, self._states[-1], number, clock.working
        )
        self._begin(number, clients)
        clock.begin(number, clients)
        counted = {(visit.client, visit.began) for visit in clock.close()}
        updates = [self._counted(*key, number) for key in sorted(counted)]
        self._keep(self.method.aggregate(self.config, self._states[-1], updates))
        self._have |= {client: began - 1 for client, began in counted}
        return visits_of(self._begun, counted, number)

    def _begin(self, number: int, clients: Sequence[int]) -> None:
        """These clients download the round's model and train."""
        expected = self.method.expect(self.config, self.model, self._states[-1])
        newest = self._states[-window_of(self.method, self.config) :]
        held = _tensor_bytes(overlaid(newest))
        made: dict[tuple[str, ...], tuple[Payload, int]] = {}
        for client in clients:
            sent = tuple(sorted(self.method.sends(self.config, self._client(client, number))))
            if sent not in made:
                upload = self._upload(expected, sent)
                made[sent] = upload, _tensor_bytes(upload)
            upload, bytes_held = made[sent]
            update = replace(self.sample, upload=upload, num_examples=self.num_examples[client])
            have = self._have.get(client)
            lacked = engine.lacking(self.method, self.config, have, number)
            checkpoint = checkpoint_bytes(self.method, self.config, self.model)
            down = catch_up_bytes(lacked, self._sizes.__getitem__, checkpoint)
            own = own_metrics(self.method, self.spec, number)
            up = _body(update, own, self.spec)
            self._begun[client, number] = Visit(client, up, down, bytes_held, held)
            self._updates[client, number] = update

    def _client(self, client: int, number: int) -> Client:
        rows, local = self.num_examples[client], self.spec.local
        return Client(client, number, self.spec.seed, local, rows, lambda: iter(()))

    def _upload(self, expected: Expected, sent: Sequence[str]) -> Payload:
        groups: list[Group] = [expected.required, *(expected.optional[name] for name in sent)]
        tensors = {
            name: torch.empty(shape, dtype=dtype_of(dtype), device="meta")
            for group in groups
            for name, (dtype, shape) in group.tensors.items()
        }
        known = self.sample.upload.scalars
        scalars = {name: known[name] for group in groups for name in group.numbers}
        for group in groups:
            scalars |= group.scalars
        return Payload(tensors, scalars)

    def _counted(self, client: int, began: int, number: int) -> Update:
        update = self._updates.pop((client, began))
        if began == number:
            return taken(self.method, self.config, lambda: self.model, self._states[-1], update)
        assert self.method.rebase is not None
        state, old = self._states[-1], self._states[began - 1]
        return self.method.rebase(self.config, self.model, state, old, update, 0.5)

    def _keep(self, state: Payload) -> None:
        shapes = {name: shape_of(tensor) for name, tensor in state.tensors.items()}
        self._states.append(state)
        self._sizes.append(encoded_bytes(shapes, state.scalars))


def _tensor_bytes(payload: Payload) -> int:
    return sum(data_bytes(*shape_of(tensor)) for tensor in payload.tensors.values())


def _body(update: Update, measured: Mapping[str, float], spec: JobSpec) -> int:
    """Length of what `method.pack` would write, with what the client measured."""
    shapes = {name: shape_of(tensor) for name, tensor in update.upload.tensors.items()}
    wire = {"wire": spec.wire.dtype} if spec.wire.rounds else {}
    own = {
        "num_examples": update.num_examples,
        "metrics": {**dict.fromkeys(update.metrics, TYPICAL), **measured},
    }
    return encoded_bytes(travelling(spec, shapes), {**update.upload.scalars, **own, **wire})
