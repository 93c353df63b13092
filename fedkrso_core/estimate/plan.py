"""The rounds of a job played with payloads that are never made: who begins, who is counted where.

The engine names the clients of each round, virtual time (see `virtual`) the order in which those of
buffered rounds answer, `Method.sends` what each of them uploads. `Method.rebase` and
`Method.aggregate` themselves are run, on tensors without values. So nothing here knows a method.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core import engine
from fedkrso_core.encoding import Shapes
from fedkrso_core.estimate.tracker import NoValues
from fedkrso_core.expect import Group
from fedkrso_core.method import Client, Method, Update, dtype_of, shape_of
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec
from fedkrso_core.stale import taken
from fedkrso_core.virtual import VirtualRounds, Visit, drawn

REQUIRED = ""  # beside the names of the optional groups


def late(group: str, staleness: int) -> str:
    """The name of a group of an upload that is counted so many rounds late."""
    return f"{group}@{staleness}" if staleness and group != REQUIRED else group


@dataclass(frozen=True)
class PlannedRound:
    """Who begins with a round's model, whose updates are counted in it, what state comes of it."""

    number: int
    begun: Sequence[int]
    counted: Sequence[Visit]
    groups: Collection[str]  # that any counted client sends
    scalars: Mapping[str, Any]


@dataclass
class Plan:
    """A job's rounds; `sample` is an upload for any round, `groups` those that an upload may have.

    `num_examples` are the rows of each client.
    """

    method: Method
    config: Any
    spec: JobSpec
    model: nn.Module
    num_examples: Sequence[int]
    sample: Update
    groups: Mapping[str, Group]
    first: Payload
    _shapes: dict[str, Shapes] = field(default_factory=dict)
    _sent: dict[tuple[int, int], Collection[str]] = field(default_factory=dict)

    def rounds(self) -> Iterator[PlannedRound]:
        """All rounds, in order."""
        clock, states = VirtualRounds(self.spec, drawn(self.spec.seed)), [self.first]
        for number in range(1, self.spec.rounds.count + 1):
            clock.give_up(number)
            begun = engine.participants(
                self.method, self.config, self.spec, states[-1], number, clock.working
            )
            for client in begun:
                self.sent(client, number)
            clock.begin(number, begun)
            counted = clock.close()
            groups = self._groups_of(number, counted, states)
            states.append(self._next_state(number, counted, states))
            yield PlannedRound(number, begun, counted, groups, states[-1].scalars)

    def sent(self, client: int, began: int) -> Collection[str]:
        """The optional groups that a client sends which began with a round."""
        if (client, began) not in self._sent:
            self._sent[client, began] = self._asked(client, began)
        return self._sent[client, began]

    def _asked(self, client: int, began: int) -> Collection[str]:
        who = Client(
            id=client,
            round=began,
            seed=self.spec.seed,
            local=self.spec.local,
            num_examples=self.num_examples[client],
            batches=lambda: iter(()),
        )
        return self.method.sends(self.config, who)

    def sent_shapes(self) -> dict[str, Shapes]:
        """The upload's tensors of each group that was asked for."""
        names = sorted({REQUIRED}.union(*self._sent.values()))
        return {name: self.groups[name].tensors for name in names}

    def shapes(self) -> dict[str, Shapes]:
        """The state's tensors that come of each group of the rounds that were played."""
        return {REQUIRED: self._fresh_shapes([REQUIRED]), **self._shapes}

    def _groups_of(
        self, number: int, counted: Sequence[Visit], states: Sequence[Payload]
    ) -> list[str]:
        """Names of the groups of a round; those not seen before are kept with their shapes."""
        found = {REQUIRED}
        for visit in counted:
            for group in self.sent(visit.client, visit.began):
                name = late(group, number - visit.began)
                found.add(name)
                if name not in self._shapes:
                    began = states[visit.began - 1]
                    self._shapes[name] = self._shapes_of(group, states[-1], began)
        return sorted(found)

    def _shapes_of(self, group: str, state: Payload, began: Payload) -> Shapes:
        """What a group of an upload adds to the state."""
        required = self._fresh_shapes([REQUIRED])
        if began is state:
            both = self._fresh_shapes([REQUIRED, group])
        else:
            with NoValues():
                update = self._rebased(self._meta([REQUIRED, group]), 0, state, began)
                both = _shapes(self.method.aggregate(self.config, state, [update]))
        return {tensor: both[tensor] for tensor in both.keys() - required.keys()}

    def _fresh_shapes(self, groups: Sequence[str]) -> Shapes:
        with NoValues():
            update = self._fresh(self._meta(groups), 0, self.first)
            return _shapes(self.method.aggregate(self.config, self.first, [update]))

    def _next_state(
        self, number: int, counted: Sequence[Visit], states: Sequence[Payload]
    ) -> Payload:
        """The new state with its true scalars; its tensors have one element or no values.

        `aggregate` is cheap on them, so that a thousand rounds take seconds. Fresh updates differ
        in nothing that scalars depend on, so one stands for all; stale ones have all they send.
        """
        stale = [visit for visit in counted if visit.began < number]
        updates = [
            self._rebased(
                self._meta([REQUIRED, *self.sent(visit.client, visit.began)]),
                visit.client,
                states[-1],
                states[visit.began - 1],
            )
            for visit in stale
        ]
        if not updates and self.method.rebases_fresh:
            with NoValues():
                meta = self._meta([REQUIRED])
                updates.append(self._fresh(meta, counted[0].client, states[-1]))
        elif not updates:
            updates.append(self._update(self._ones(), counted[0].client))
        return self.method.aggregate(self.config, states[-1], updates)

    def _ones(self) -> dict[str, Tensor]:
        return {
            name: torch.ones([1] * len(shape), dtype=dtype_of(dtype))
            for name, (dtype, shape) in self.groups[REQUIRED].tensors.items()
        }

    def _meta(self, groups: Sequence[str]) -> dict[str, Tensor]:
        """Tensors of the groups without values."""
        return {
            name: torch.empty(shape, dtype=dtype_of(dtype), device="meta")
            for group in groups
            for name, (dtype, shape) in self.groups[group].tensors.items()
        }

    def _fresh(self, tensors: Mapping[str, Tensor], client: int, state: Payload) -> Update:
        update = self._update(tensors, client)
        return taken(self.method, self.config, lambda: self.model, state, update)

    def _rebased(
        self, tensors: Mapping[str, Tensor], client: int, state: Payload, began: Payload
    ) -> Update:
        assert self.method.rebase is not None
        update = self._update(tensors, client)
        return self.method.rebase(self.config, self.model, state, began, update, 0.5)

    def _update(self, tensors: Mapping[str, Tensor], client: int) -> Update:
        upload = replace(self.sample.upload, tensors=tensors)
        return replace(self.sample, upload=upload, num_examples=self.num_examples[client])


def _shapes(payload: Payload) -> Shapes:
    return {name: shape_of(tensor) for name, tensor in payload.tensors.items()}
