"""Exact bytes of a job, from shapes: its rounds are played with payloads that are never made.

`plan` says who begins with which round and is counted where, and what state comes of it; here all
of that is sized. What is not exact: the digits of the numbers in `metrics`, which depend on the
training; a typical number stands for them. With zstd they are the bytes before compression, which
depends on the numbers: an upper limit but for some bytes of the frame. Buffered rounds are those of
virtual time, which are those of `fedkrso run`; with the service they depend on who is done when.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from fedkrso_core import engine
from fedkrso_core.checkpoint import catch_up_bytes, checkpoint_bytes
from fedkrso_core.encoding import Encoding, Shapes
from fedkrso_core.estimate.plan import REQUIRED, Plan, PlannedRound
from fedkrso_core.expect import Group
from fedkrso_core.forecast import RoundTraffic, Traffic
from fedkrso_core.method import Method, Update, shape_of
from fedkrso_core.payload import Payload
from fedkrso_core.personal import OWN, measures
from fedkrso_core.spec import JobSpec, measured_of
from fedkrso_core.wire_spec import form_of

TYPICAL = 0.6931471824645996  # a float32 printed as Python does: 18 characters, give or take one


@dataclass(frozen=True)
class Visit:
    """A client's part of a round, in bytes; `held_up` and `held_down` without headers.

    In a synchronous round a client begins and is counted. In a buffered one there are visits of
    clients that only begin (bytes_up 0), and of such that began earlier (bytes_down 0).
    """

    client: int
    bytes_up: int
    bytes_down: int
    held_up: int  # tensors of its upload
    held_down: int  # tensors of the last state, which it holds while it trains
    counted: bool = True


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
        self.method, self._config, self.num_examples = method, config, num_examples
        first = method.init(config, model, spec.seed)
        expected = method.expect(config, model, first)
        self._groups = {**expected.optional, REQUIRED: expected.required}
        self._sample = replace(sample, metrics=dict.fromkeys(sample.metrics, TYPICAL))
        self._plan = Plan(
            method, config, spec, model, num_examples, self._sample, self._groups, first
        )
        optional = {name for group in expected.optional.values() for name in group.scalars}
        scalars = sample.upload.scalars.items()
        self._scalars = {name: value for name, value in scalars if name not in optional}
        if spec.wire.rounds:
            self._scalars["wire"] = spec.wire.dtype
        self._spec = spec
        self._checkpoint = checkpoint_bytes(method, config, model)

    def visits(self) -> list[list[Visit]]:
        """What each client of each round sends and gets."""
        rounds, spec = list(self._plan.rounds()), self._spec
        up, down = self._plan.sent_shapes(), Encoding(self._plan.shapes())
        upload = _Uploads(
            Encoding({group: travelling(spec, shapes) for group, shapes in up.items()}),
            Encoding(up),
            self._scalars,
            self._groups,
            self._sample.metrics,
        )
        states = [_sizes_of(self._plan.first)]
        states += [_sizes(down, one.groups, one.scalars) for one in rounds]
        have: dict[int, int] = {}
        begun: dict[tuple[int, int], Visit] = {}
        return [self._visits(one, upload, states, have, begun) for one in rounds]

    def _visits(
        self,
        one: PlannedRound,
        upload: _Uploads,
        states: Sequence[tuple[int, int]],
        have: dict[int, int],
        begun: dict[tuple[int, int], Visit],
    ) -> list[Visit]:
        """A round's visits; `have` and `begun` are carried from round to round."""
        for client in one.begun:
            up, held_up = upload.sizes(
                self._plan.sent(client, one.number),
                self.num_examples[client],
                own_metrics(self.method, self._spec, one.number),
            )
            lacked = engine.lacking(self.method, self._config, have.get(client), one.number)
            down = catch_up_bytes(lacked, lambda t: states[t][0], self._checkpoint)
            held_down = states[one.number - 1][1]
            begun[client, one.number] = Visit(client, up, down, held_up, held_down)
        counted = {(visit.client, visit.began) for visit in one.counted}
        have |= {client: began - 1 for client, began in counted}
        return visits_of(begun, counted, one.number)


@dataclass
class _Uploads:
    """Sizes of uploads, as `method.pack` writes them; each set of groups is sized once."""

    travels: Encoding
    held: Encoding  # before it is coded
    scalars: Mapping[str, Any]
    groups: Mapping[str, Group]
    metrics: Mapping[str, float]
    known: dict[Any, tuple[int, int]] = field(default_factory=dict)

    def sizes(
        self, sent: Collection[str], num_examples: int, own: Mapping[str, float]
    ) -> tuple[int, int]:
        """Length of the body, and bytes of the tensors that the client holds for it."""
        key = (frozenset(sent), len(str(num_examples)), len(own))
        if key not in self.known:
            groups = [REQUIRED, *sent]
            scalars = {**self.scalars, "num_examples": num_examples}
            scalars["metrics"] = {**self.metrics, **own}
            for name in groups:
                scalars |= self.groups[name].scalars
            size = self.travels.size(groups, scalars)
            self.known[key] = size, self.held.tensor_bytes(groups)
        return self.known[key]


def _sizes(
    encoding: Encoding, groups: Collection[str], scalars: Mapping[str, Any]
) -> tuple[int, int]:
    """Length of an encoding, and bytes of its tensors."""
    return encoding.size(groups, scalars), encoding.tensor_bytes(groups)


def _sizes_of(payload: Payload) -> tuple[int, int]:
    shapes = {name: shape_of(tensor) for name, tensor in payload.tensors.items()}
    return _sizes(Encoding({REQUIRED: shapes}), [REQUIRED], payload.scalars)


def travelling(spec: JobSpec, shapes: Shapes) -> Shapes:
    """What tensors of an upload are on their way."""
    return {name: form_of(spec.wire.dtype, *shape) for name, shape in shapes.items()}


def own_metrics(method: Method, spec: JobSpec, began: int) -> dict[str, float]:
    """What a client reports of its own model, where it measures one."""
    if not method.is_personal or not measures(spec, began):
        return {}
    return {f"{OWN}{name}": TYPICAL for name in measured_of(spec)}


def visits_of(
    begun: Mapping[tuple[int, int], Visit], counted: Collection[tuple[int, int]], number: int
) -> list[Visit]:
    """The visits of a round, of all that have `begun` and those that are counted in it.

    Keys are (client, round that it began with).
    """
    own = [
        visit if (client, began) in counted else replace(visit, bytes_up=0, counted=False)
        for (client, began), visit in begun.items()
        if began == number
    ]
    earlier = [begun[key] for key in sorted(counted) if key[1] < number]
    both = own + [replace(visit, bytes_down=0) for visit in earlier]
    return sorted(both, key=lambda visit: visit.client)


def traffic_of(rounds: Sequence[Sequence[Visit]], spec: JobSpec) -> Traffic:
    """The sums of a job's rounds."""
    planned = [
        RoundTraffic(
            round=number,
            clients=sum(visit.counted for visit in visits),
            bytes_up=sum(visit.bytes_up for visit in visits),
            bytes_down=sum(visit.bytes_down for visit in visits),
        )
        for number, visits in enumerate(rounds, 1)
    ]
    up, down = (sum(getattr(r, way) for r in planned) for way in ("bytes_up", "bytes_down"))
    visits = sum(one.clients for one in planned)
    return Traffic(
        rounds=planned,
        exact=not spec.rounds.buffered,
        compressed=spec.wire.compression != "none",
        bytes_up=up,
        bytes_down=down,
        bytes_up_per_client=round(up / visits),
        bytes_down_per_client=round(down / visits),
    )
