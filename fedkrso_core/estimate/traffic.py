"""Exact bytes of a job, from shapes: its rounds are played with payloads that are never made.

The engine names the clients of each round and the states that they lack, `Method.sends` what each
of them uploads, and `Method.aggregate` itself, run once on tensors without values, the shapes of
the states. So nothing here knows a method. What is not exact: the digits of the numbers in
`metrics`, which depend on the training; a typical number stands for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core import engine
from fedkrso_core.estimate.encoding import Encoding, Shapes
from fedkrso_core.estimate.tracker import NoValues
from fedkrso_core.expect import Group
from fedkrso_core.forecast import RoundTraffic, Traffic
from fedkrso_core.method import Client, Method, Update, dtype_of, shape_of
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec

_REQUIRED = ""  # beside the names of the optional groups
_TYPICAL = 0.6931471824645996  # a float32 printed as Python does: 18 characters, give or take one


@dataclass(frozen=True)
class Visit:
    """A client's part of a round, in bytes; `held_up` and `held_down` without headers."""

    client: int
    bytes_up: int
    bytes_down: int
    held_up: int  # tensors of its upload
    held_down: int  # tensors of the last state, which it holds while it trains


@dataclass(frozen=True)
class _Round:
    """The names of the optional groups that each client sends, and the state that comes of it."""

    number: int
    sent: Mapping[int, Collection[str]]
    scalars: Mapping[str, Any]

    @property
    def groups(self) -> list[str]:
        """The groups that any client sends."""
        return [_REQUIRED, *sorted(set().union(*self.sent.values()))]


class Exchange:
    """Who sends what to whom in a job; `model` may be on the meta device.

    `sample` is an upload of the method for any round, whose tensors need no values: it tells the
    scalars and the names of the metrics. `num_examples` are the rows of each client.
    """

    def __init__(
        self,
        method: Method,
        config: Any,
        spec: JobSpec,
        model: nn.Module,
        num_examples: Sequence[int],
        sample: Update,
    ) -> None:
        self.method, self.config, self.spec = method, config, spec
        self.num_examples = num_examples
        self._first = method.init(config, model, spec.seed)
        expected = method.expect(config, model, self._first)
        self._groups = {**expected.optional, _REQUIRED: expected.required}
        self._sample = replace(sample, metrics=dict.fromkeys(sample.metrics, _TYPICAL))
        optional = {name for group in expected.optional.values() for name in group.scalars}
        scalars = sample.upload.scalars.items()
        self._scalars = {name: value for name, value in scalars if name not in optional}

    def visits(self) -> list[list[Visit]]:
        """What each client of each round sends and gets."""
        rounds = list(self._rounds())
        used = sorted(set().union(*(one.groups for one in rounds)))
        up = Encoding({name: self._groups[name].tensors for name in used})
        down = Encoding(self._state_shapes(used))
        upload = _Uploads(up, self._scalars, self._groups, self._sample.metrics)
        states = [_sizes_of(self._first)]
        have: dict[int, int] = {}
        visits = []
        for one in rounds:
            lacked = {c: engine.lacking(self.method, have.get(c), one.number) for c in one.sent}
            visits.append(
                [
                    Visit(c, up_, sum(states[t][0] for t in lacked[c]), held_up, states[-1][1])
                    for c, groups in one.sent.items()
                    for up_, held_up in [upload.sizes(groups, self.num_examples[c])]
                ]
            )
            have |= dict.fromkeys(one.sent, one.number - 1)
            states.append(_sizes(down, one.groups, one.scalars))
        return visits

    def _rounds(self) -> Iterator[_Round]:
        state = self._first
        for number in range(1, self.spec.rounds + 1):
            clients = engine.participants(self.method, self.config, self.spec, state, number)
            state = self._next_state(state, clients[0])
            yield _Round(number, {c: self._sent(c, number) for c in clients}, state.scalars)

    def _sent(self, client: int, number: int) -> Collection[str]:
        who = Client(
            id=client,
            round=number,
            seed=self.spec.seed,
            local=self.spec.local,
            num_examples=self.num_examples[client],
            batches=lambda: iter(()),
        )
        return self.method.sends(self.config, who)

    def _next_state(self, state: Payload, client: int) -> Payload:
        """The new state with its true scalars; of each required tensor only one element.

        `aggregate` is cheap on them, so that a thousand rounds take seconds.
        """
        tensors = {
            name: torch.ones([1] * len(shape), dtype=dtype_of(dtype))
            for name, (dtype, shape) in self._groups[_REQUIRED].tensors.items()
        }
        return self._aggregate(state, tensors, client)

    def _state_shapes(self, groups: Sequence[str]) -> dict[str, Shapes]:
        """The state's tensors that come of each group of the uploads."""
        required = self._aggregated([_REQUIRED])
        found: dict[str, Shapes] = {_REQUIRED: required}
        for name in groups:
            if name != _REQUIRED:
                both = self._aggregated([_REQUIRED, name])
                found[name] = {tensor: both[tensor] for tensor in both.keys() - required.keys()}
        return found

    def _aggregated(self, groups: Sequence[str]) -> Shapes:
        tensors = {
            name: torch.empty(shape, dtype=dtype_of(dtype), device="meta")
            for group in groups
            for name, (dtype, shape) in self._groups[group].tensors.items()
        }
        with NoValues():
            state = self._aggregate(self._first, tensors, 0)
        return {name: shape_of(tensor) for name, tensor in state.tensors.items()}

    def _aggregate(self, state: Payload, tensors: Mapping[str, Tensor], client: int) -> Payload:
        upload = replace(self._sample.upload, tensors=tensors)
        update = replace(self._sample, upload=upload, num_examples=self.num_examples[client])
        return self.method.aggregate(self.config, state, [update])


@dataclass
class _Uploads:
    """Sizes of uploads, as `method.pack` writes them; each set of groups is sized once."""

    encoding: Encoding
    scalars: Mapping[str, Any]
    groups: Mapping[str, Group]
    metrics: Mapping[str, float]
    known: dict[Any, tuple[int, int]] = field(default_factory=dict)

    def sizes(self, sent: Collection[str], num_examples: int) -> tuple[int, int]:
        """Length of the body, and bytes of its tensors."""
        key = (frozenset(sent), len(str(num_examples)))
        if key not in self.known:
            groups = [_REQUIRED, *sent]
            scalars = {**self.scalars, "num_examples": num_examples, "metrics": self.metrics}
            for name in groups:
                scalars |= self.groups[name].scalars
            self.known[key] = _sizes(self.encoding, groups, scalars)
        return self.known[key]


def _sizes(
    encoding: Encoding, groups: Collection[str], scalars: Mapping[str, Any]
) -> tuple[int, int]:
    """Length of an encoding, and bytes of its tensors."""
    return encoding.size(groups, scalars), encoding.tensor_bytes(groups)


def _sizes_of(payload: Payload) -> tuple[int, int]:
    shapes = {name: shape_of(tensor) for name, tensor in payload.tensors.items()}
    return _sizes(Encoding({_REQUIRED: shapes}), [_REQUIRED], payload.scalars)


def traffic_of(rounds: Sequence[Sequence[Visit]]) -> Traffic:
    """The sums of a job's rounds."""
    planned = [
        RoundTraffic(
            round=number,
            clients=len(visits),
            bytes_up=sum(visit.bytes_up for visit in visits),
            bytes_down=sum(visit.bytes_down for visit in visits),
        )
        for number, visits in enumerate(rounds, 1)
    ]
    up, down = (sum(getattr(r, way) for r in planned) for way in ("bytes_up", "bytes_down"))
    visits = sum(one.clients for one in planned)
    return Traffic(
        rounds=planned,
        bytes_up=up,
        bytes_down=down,
        bytes_up_per_client=round(up / visits),
        bytes_down_per_client=round(down / visits),
    )
